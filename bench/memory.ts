import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { startKafka } from '../tools/kafka/start.ts'
import { admin, median, runContender, versionOf } from './contender-process.ts'
import type { MemoryResult, MemoryTask } from './memory/contender.ts'
import { fillTopic } from './pipeline/fill-topic.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

const CONTENDERS = ['millrace', 'kafkajs'] as const
type Name = (typeof CONTENDERS)[number]
/** Characters of the text in every record. */
const TEXT_LENGTH = 1_000
const SECONDS = 15

/**
 * The most memory that one process needs in 15 seconds of slow handlers (2 ms a record) in front of a backlog of records
 * of 1 KB; beside KafkaJS at its defaults. Less is better, so a ratio below 1 is good.
 */
export async function benchMemory(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({ onNotice: options.note })
  await using kafka = await startKafka({ jvm: [], heapMb: 1_024, onNotice: options.note })
  await fillTopic(kafka.brokers, 'backlog', options.count, 'x'.repeat(TEXT_LENGTH))
  const results = new Map<Name, MemoryResult[]>(CONTENDERS.map((name) => [name, []]))
  for (let round = 0; round < options.rounds; round += 1) {
    for (const name of CONTENDERS) {
      const database = `${name}_${round}`
      await admin(server.url(), `create database ${database}`)
      const task: MemoryTask = {
        databaseUrl: server.url(database),
        brokers: kafka.brokers,
        topic: 'backlog',
        seconds: SECONDS,
      }
      const file = new URL(`./memory/${name}.ts`, import.meta.url)
      const result = await runContender<MemoryResult>(file, [JSON.stringify(task)])
      await admin(server.url(), `drop database ${database} with (force)`)
      results.get(name)?.push(result)
      options.note(
        `round ${round + 1}: ${name} ${Math.round(result.peakMiB)} MiB, handled ${result.handled}`,
      )
    }
  }
  const value = (name: Name): number =>
    Math.round(median((results.get(name) ?? []).map(({ peakMiB }) => peakMiB)))
  return [
    {
      bench: 'memory',
      metric: `peak with a backlog of ${options.count.toLocaleString('en')} records of 1 KB`,
      value: value('millrace'),
      unit: 'MiB',
      peer: `kafkajs ${await versionOf('kafkajs')}`,
      peerValue: value('kafkajs'),
      ratio: Math.round((value('millrace') / value('kafkajs')) * 100) / 100,
    },
  ]
}
