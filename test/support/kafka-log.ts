import { createCore } from '../../src/core/core.ts'
import type { Core } from '../../src/core/core.ts'
import { kafka, type KafkaOptions } from '../../src/kafka/kafka.ts'
import type { Log } from '../../src/log/port.ts'
import type { Harness } from '../conformance/log/harness.ts'
import { cleanup, type TestScope } from './cleanup.ts'
import { startKafka, type Kafka } from '../../tools/kafka/start.ts'

/** A log on a cluster, closed with the test. */
export async function kafkaLog(
  t: TestScope,
  cluster: Pick<Kafka, 'brokers'>,
  { core, ...options }: Partial<KafkaOptions> & { readonly core?: Partial<Core> } = {},
): Promise<Log> {
  // It needs no database.
  const environment = { core: createCore(core), pool: undefined as never }
  const log = await kafka({ brokers: cluster.brokers, ...options }).open(environment)
  cleanup(t, async () => log.close())
  return log
}

let own: Promise<Kafka> | undefined

/** A broker of this process alone, without topics before and after each test; it ends with the process. */
export async function kafkaLogHarness(t: TestScope): Promise<Harness> {
  own ??= startKafka()
  const cluster = await own
  const log = await kafkaLog(t, cluster)
  const peer = await kafkaLog(t, cluster)
  const empty = async (): Promise<void> => {
    for (const { name } of await log.topics()) await log.deleteTopic(name)
  }
  await empty()
  cleanup(t, empty)
  return {
    log,
    peer,
    begin: () => Promise.reject(new Error('Kafka writes in no transaction of a database')),
  }
}
