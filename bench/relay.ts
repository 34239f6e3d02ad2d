import { start } from '../src/app/start.ts'
import { kafka } from '../src/kafka/kafka.ts'
import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { startKafka } from '../tools/kafka/start.ts'
import { admin, median, runContender, versionOf, warmUp } from './contender-process.ts'
import { BATCH, benchRecord, type RelayResult, type RelayTask } from './relay/contender.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

const CONTENDERS = ['millrace', 'transactions'] as const
type Name = (typeof CONTENDERS)[number]

/**
 * How fast the relay moves what waits in the outbox into a topic with six partitions, from the start of its process until
 * the database knows that all of it is there; beside the client's own transactional producers with the same records at
 * hand, four at once as the outbox has four shards, 2,000 records a transaction. One broker and one server with durable
 * defaults, a process each, in rounds that take turns; a figure is the median of the rounds. A round before the first is
 * not counted: the broker compiles its code.
 */
export async function benchRelay(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({
    settings: { shared_buffers: '1GB', max_wal_size: '4GB', min_wal_size: '2GB' },
    onNotice: options.note,
  })
  await using broker = await startKafka({ jvm: [], heapMb: 1_024, onNotice: options.note })
  await warmUp(server.url(), options.count)
  const results = new Map<Name, number[]>(CONTENDERS.map((name) => [name, []]))
  for (let round = 0; round <= options.rounds; round += 1) {
    for (const turn of CONTENDERS.keys()) {
      const name = CONTENDERS[(turn + round) % CONTENDERS.length] as Name
      const database = `relay_${name}_${round}`
      await admin(server.url(), `create database ${database}`)
      const task: RelayTask = {
        databaseUrl: server.url(database),
        brokers: broker.brokers,
        topic: `relay-${name}-${round}`,
        count: options.count,
      }
      await fill(task, name === 'millrace' ? options.count : 0)
      const file = new URL(`./relay/${name}.ts`, import.meta.url)
      const { perSecond } = await runContender<RelayResult>(file, [JSON.stringify(task)])
      await admin(server.url(), `drop database ${database} with (force)`)
      // Or the next one pays for the writing of this one's pages.
      await admin(server.url(), 'checkpoint')
      if (round > 0) results.get(name)?.push(perSecond)
      options.note(`round ${round}: ${name} ${Math.round(perSecond)}/s`)
    }
  }
  const value = (name: Name): number => median(results.get(name) ?? [])
  return [
    {
      bench: 'relay',
      metric: 'relayed',
      value: Math.round(value('millrace')),
      unit: 'events/s',
      peer: `@platformatic/kafka ${await versionOf('@platformatic/kafka')}, transactions alone`,
      peerValue: Math.round(value('transactions')),
      ratio: Math.round((value('millrace') / value('transactions')) * 100) / 100,
    },
  ]
}

/** Makes the topic, and writes `count` records into the outbox. */
async function fill({ databaseUrl, brokers, topic }: RelayTask, count: number): Promise<void> {
  const millrace = await start({
    database: databaseUrl,
    log: kafka({ brokers }),
    topics: { [topic]: { partitions: 6 } },
    queues: false,
    upkeep: false,
    relay: false,
  })
  for (let at = 0; at < count; at += BATCH) {
    const size = Math.min(BATCH, count - at)
    const records = Array.from({ length: size }, (_, i) => benchRecord(topic, at + i))
    await millrace.transaction((tx) => tx.append(records))
  }
  await millrace.stop()
}
