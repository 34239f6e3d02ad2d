import { startKafka } from '../tools/kafka/start.ts'
import { createCore } from '../src/core/core.ts'
import { kafka } from '../src/kafka/kafka.ts'
import { median, runContender, versionOf } from './contender-process.ts'
import type { ConsumeResult, ConsumeTask } from './kafka-consume/contender.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

const PEERS = ['client-fetch', 'client-stream', 'kafkajs'] as const
const CONTENDERS = ['millrace', ...PEERS] as const
type Name = (typeof CONTENDERS)[number]

const PARTITIONS = 6
const VALUE_BYTES = 200
const TOPIC = 'consumed'

/**
 * How fast the records of a Kafka topic (200 bytes, six partitions, stored in batches of some 100 KB) are read by one
 * process that does nothing with them: our log, the client's own request in a bare loop, its stream, and KafkaJS. From the
 * first record to the last. Each contender runs in a process of its own, in rounds that take turns; a figure is the median
 * of the rounds.
 */
export async function benchKafkaConsume(options: BenchOptions): Promise<BenchRow[]> {
  await using cluster = await startKafka({ jvm: [], heapMb: 1_024, onNotice: options.note })
  await fill(cluster.brokers, options.count)
  const results = new Map<Name, ConsumeResult[]>(CONTENDERS.map((name) => [name, []]))
  const task: ConsumeTask = {
    brokers: cluster.brokers,
    topic: TOPIC,
    partitions: PARTITIONS,
    count: options.count,
  }
  for (let round = 0; round < options.rounds; round += 1) {
    for (const turn of CONTENDERS.keys()) {
      const name = CONTENDERS[(turn + round) % CONTENDERS.length] as Name
      const file = new URL(`./kafka-consume/${name}.ts`, import.meta.url)
      const result = await runContender<ConsumeResult>(file, [JSON.stringify(task)])
      results.get(name)?.push(result)
      options.note(
        `round ${round + 1}: ${name} read ${Math.round(result.recordsPerSecond)}/s, first record after ${Math.round(result.firstRecordMs)} ms, ${Math.round(result.cpuMs)} ms of processor time, ${Math.round(result.peakRssMb)} MB`,
      )
    }
  }
  const value = (name: Name): number =>
    median((results.get(name) ?? []).map(({ recordsPerSecond }) => recordsPerSecond))
  const client = `@platformatic/kafka ${await versionOf('@platformatic/kafka')}`
  const peers: Record<(typeof PEERS)[number], string> = {
    'client-fetch': `${client}, bare fetch loop`,
    'client-stream': `${client}, stream`,
    kafkajs: `kafkajs ${await versionOf('kafkajs')}`,
  }
  return PEERS.map((name) => ({
    bench: 'kafka-consume',
    metric: 'consume',
    value: Math.round(value('millrace')),
    unit: 'records/s',
    peer: peers[name],
    peerValue: Math.round(value(name)),
    ratio: Math.round((value('millrace') / value(name)) * 100) / 100,
  }))
}

async function fill(brokers: readonly string[], count: number): Promise<void> {
  const log = await kafka({ brokers }).open({ core: createCore(), pool: undefined as never })
  try {
    await log.createTopic(TOPIC, { partitions: PARTITIONS })
    const value = Buffer.alloc(VALUE_BYTES, 'x')
    for (let at = 0; at < count; at += 3_000) {
      await log.append(
        Array.from({ length: Math.min(3_000, count - at) }, (_, i) => ({
          topic: TOPIC,
          key: Buffer.from(String(at + i)),
          value,
          headers: [],
        })),
      )
    }
  } finally {
    await log.close()
  }
}
