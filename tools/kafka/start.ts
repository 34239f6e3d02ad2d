import { ensureArchive } from './class-archive.ts'
import { startCluster, type Kafka } from './cluster.ts'
import { ensureKafka } from './install.ts'
import type { KafkaOptions } from './options.ts'

export type { Kafka } from './cluster.ts'

/**
 * Starts one broker or three (KRaft, each also a controller), on 127.0.0.1 only. They end with this process, however
 * that ends, and do not keep it alive. Answers when every broker sees all of them.
 *
 * @throws KafkaToolProblem when something is missing or a broker does not start; the text says why.
 *
 * @example
 * await using kafka = await startKafka({ brokers: 3 })
 * await kafka.nodes[0].kill9()
 */
export async function startKafka(options: KafkaOptions = {}): Promise<Kafka> {
  const { onNotice: say = (line: string): void => console.error(line), signal } = options
  const install = await ensureKafka({ say, signal })
  await ensureArchive(install, { say, signal }, startCluster)
  return startCluster(install, options)
}
