import { startKafka } from '../tools/kafka/start.ts'
import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { admin, median, runContender, versionOf, warmUp } from './contender-process.ts'
import { fillTopic } from './pipeline/fill-topic.ts'
import type { PipelineResult, PipelineTask } from './pipeline/contender.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

const OURS = ['millrace-kafka', 'millrace-table'] as const
const PEERS = ['kafkajs-graphile-worker', 'kafkajs-pg-boss'] as const
const CONTENDERS = [...OURS, ...PEERS] as const
type Name = (typeof CONTENDERS)[number]

/**
 * How fast records of a Kafka topic with six partitions become one job each and are worked off, by one process; beside
 * KafkaJS glued to graphile-worker and to pg-boss, on one broker and one server with durable defaults, and our own table
 * log. From the first record handed over until the database says that no job is unfinished. Each contender runs in a
 * process and a database of its own, in rounds that take turns; a figure is the median of the rounds.
 */
export async function benchPipeline(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({
    settings: { shared_buffers: '1GB', max_wal_size: '4GB', min_wal_size: '2GB' },
    onNotice: options.note,
  })
  await using kafka = await startKafka({ jvm: [], heapMb: 1_024, onNotice: options.note })
  const topic = 'pipeline'
  await fillTopic(kafka.brokers, topic, options.count)
  await warmUp(server.url(), options.count)
  const results = new Map<Name, PipelineResult[]>(CONTENDERS.map((name) => [name, []]))
  for (let round = 0; round < options.rounds; round += 1) {
    for (const turn of CONTENDERS.keys()) {
      const name = CONTENDERS[(turn + round) % CONTENDERS.length] as Name
      const database = `${name.replaceAll('-', '_')}_${round}`
      await admin(server.url(), `create database ${database}`)
      const task: PipelineTask = {
        databaseUrl: server.url(database),
        brokers: kafka.brokers,
        topic,
        count: options.count,
      }
      const file = new URL(`./pipeline/${name}.ts`, import.meta.url)
      const result = await runContender<PipelineResult>(file, [JSON.stringify(task)])
      await admin(server.url(), `drop database ${database} with (force)`)
      // Or the next one pays for the writing of this one's pages.
      await admin(server.url(), 'checkpoint')
      results.get(name)?.push(result)
      options.note(
        `round ${round + 1}: ${name} finished ${Math.round(result.finishedPerSecond)}/s, first record after ${Math.round(result.firstRecordMs)} ms`,
      )
    }
  }
  const value = (name: Name): number =>
    median((results.get(name) ?? []).map(({ finishedPerSecond }) => finishedPerSecond))
  const kafkajs = await versionOf('kafkajs')
  const peers: Record<string, string> = {}
  for (const name of PEERS) {
    const system = name.replace('kafkajs-', '')
    peers[name] = `kafkajs ${kafkajs} + ${system} ${await versionOf(system)}`
  }
  return OURS.flatMap((own) =>
    PEERS.map((name) => ({
      bench: 'pipeline',
      metric: own === 'millrace-kafka' ? 'finished' : 'finished, table log',
      value: Math.round(value(own)),
      unit: 'records/s',
      peer: peers[name] ?? name,
      peerValue: Math.round(value(name)),
      ratio: Math.round((value(own) / value(name)) * 100) / 100,
    })),
  )
}
