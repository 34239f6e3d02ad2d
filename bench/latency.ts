import { startKafka } from '../tools/kafka/start.ts'
import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { admin, median, runContender, versionOf } from './contender-process.ts'
import type { LatencyResult, LatencyTask } from './latency/contender.ts'
import { makeTopic } from './pipeline/fill-topic.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

const OURS = {
  'kafka-direct': 'published to Kafka',
  'kafka-outbox': 'published in a transaction, outbox and relay to Kafka',
  table: 'published to the table log',
} as const
const CONTENDERS = ['kafka-direct', 'kafka-outbox', 'table', 'kafkajs'] as const
type Name = (typeof CONTENDERS)[number]

/**
 * How long it takes from publishing an event until its handler runs, at 50 events a second in one process: directly to
 * Kafka, in a transaction through the outbox, and on the table log; beside KafkaJS from producer to consumer, which
 * writes to no database. Medians of the rounds' percentiles; less is better, so a ratio above 1 is slower.
 */
export async function benchLatency(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({ onNotice: options.note })
  await using kafka = await startKafka({ jvm: [], heapMb: 1_024, onNotice: options.note })
  const results = new Map<Name, LatencyResult[]>(CONTENDERS.map((name) => [name, []]))
  for (let round = 0; round < options.rounds; round += 1) {
    for (const turn of CONTENDERS.keys()) {
      const name = CONTENDERS[(turn + round) % CONTENDERS.length] as Name
      const database = `${name.replaceAll('-', '_')}_${round}`
      const topic = `latency-${name}-${round}`
      await admin(server.url(), `create database ${database}`)
      await makeTopic(kafka.brokers, topic)
      const task: LatencyTask = {
        databaseUrl: server.url(database),
        brokers: kafka.brokers,
        topic,
        count: options.count,
      }
      const file = new URL(`./latency/${name}.ts`, import.meta.url)
      const result = await runContender<LatencyResult>(file, [JSON.stringify(task)])
      await admin(server.url(), `drop database ${database} with (force)`)
      results.get(name)?.push(result)
      options.note(
        `round ${round + 1}: ${name} p50 ${result.p50.toFixed(1)} ms, p99 ${result.p99.toFixed(1)} ms`,
      )
    }
  }
  const value = (name: Name, of: keyof LatencyResult): number =>
    Math.round(median((results.get(name) ?? []).map((result) => result[of])) * 10) / 10
  const peer = `kafkajs ${await versionOf('kafkajs')}, no database`
  return Object.entries(OURS).flatMap(([name, what]) =>
    (['p50', 'p99'] as const).map((of) => ({
      bench: 'latency',
      metric: `${of}, ${what}`,
      value: value(name as Name, of),
      unit: 'ms',
      peer,
      peerValue: value('kafkajs', of),
      ratio: Math.round((value(name as Name, of) / value('kafkajs', of)) * 100) / 100,
    })),
  )
}
