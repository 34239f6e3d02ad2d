import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { startKafka } from '../tools/kafka/start.ts'
import { admin, median, runContender, versionOf } from './contender-process.ts'
import type { MemoryResult, MemoryTask } from './memory/contender.ts'
import { fillTopic } from './pipeline/fill-topic.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

const CONTENDERS = ['millrace', 'kafkajs'] as const
type Name = (typeof CONTENDERS)[number]
/** Settings of V8: its own, and a limit (MB) of the halves of its young generation, which else grow to 32 MB each. */
const SETTINGS = [[], ['--max-semi-space-size=16']] as const
/** Characters of the text in every record. */
const TEXT_LENGTH = 1_000
const SECONDS = 15

/**
 * The most memory that one process needs in 15 seconds of slow handlers (2 ms a record) in front of a backlog of records
 * of 1 KB; beside KafkaJS at its defaults. With V8 as it is, and with a limit to its young generation. Less is better, so a
 * ratio below 1 is good.
 */
export async function benchMemory(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({ onNotice: options.note })
  await using kafka = await startKafka({ jvm: [], heapMb: 1_024, onNotice: options.note })
  await fillTopic(kafka.brokers, 'backlog', options.count, 'x'.repeat(TEXT_LENGTH))
  const runs = SETTINGS.flatMap((flags) => CONTENDERS.map((name) => ({ name, flags })))
  const results = new Map(runs.map((run): [typeof run, MemoryResult[]] => [run, []]))
  for (let round = 0; round < options.rounds; round += 1) {
    for (const [at, run] of runs.entries()) {
      const { name, flags } = run
      const database = `run_${round}_${at}`
      await admin(server.url(), `create database ${database}`)
      const task: MemoryTask = {
        databaseUrl: server.url(database),
        brokers: kafka.brokers,
        topic: 'backlog',
        seconds: SECONDS,
      }
      const file = new URL(`./memory/${name}.ts`, import.meta.url)
      const result = await runContender<MemoryResult>(file, [JSON.stringify(task)], flags)
      await admin(server.url(), `drop database ${database} with (force)`)
      results.get(run)?.push(result)
      options.note(
        `round ${round + 1}: ${[name, ...flags].join(' ')} ${Math.round(result.peakMiB)} MiB, handled ${result.handled}`,
      )
    }
  }
  const value = (name: Name, flags: readonly string[]): number => {
    const run = runs.find((one) => one.name === name && one.flags === flags)
    const measured = run === undefined ? [] : (results.get(run) ?? [])
    return Math.round(median(measured.map(({ peakMiB }) => peakMiB)))
  }
  const peer = `kafkajs ${await versionOf('kafkajs')}`
  const backlog = `peak with a backlog of ${options.count.toLocaleString('en')} records of 1 KB`
  return SETTINGS.map((flags) => ({
    bench: 'memory',
    metric: [backlog, ...flags].join(', '),
    value: value('millrace', flags),
    unit: 'MiB',
    peer,
    peerValue: value('kafkajs', flags),
    ratio: Math.round((value('millrace', flags) / value('kafkajs', flags)) * 100) / 100,
  }))
}
