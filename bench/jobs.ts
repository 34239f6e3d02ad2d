import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { admin, median, runContender, versionOf, warmUp } from './contender-process.ts'
import type { RunResult } from './contenders/contender.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

/** The others, and how they are found. */
const PEERS = ['graphile-worker', 'pg-boss'] as const
const CONTENDERS = ['millrace', ...PEERS, 'floor'] as const
type Name = (typeof CONTENDERS)[number]

/**
 * How fast jobs that do nothing are inserted, in calls of the size that is fastest for each, and worked off by one process that
 * keeps the history, beside graphile-worker, pg-boss and `delete … returning` alone, all on one server with durable defaults.
 * Each contender runs in a process and a database of its own, in rounds that take turns, each beginning with another one; a
 * figure is the median of the rounds.
 */
export async function benchJobs(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({
    settings: { shared_buffers: '1GB', max_wal_size: '4GB', min_wal_size: '2GB' },
    onNotice: options.note,
  })
  await warmUp(server.url(), options.count)
  const results = new Map<Name, RunResult[]>(CONTENDERS.map((name) => [name, []]))
  for (let round = 0; round < options.rounds; round += 1) {
    for (const turn of CONTENDERS.keys()) {
      const name = CONTENDERS[(turn + round) % CONTENDERS.length] as Name
      const database = `${name.replace('-', '_')}_${round}`
      await admin(server.url(), `create database ${database}`)
      const result = await runContender<RunResult>(fileOf(name), [
        server.url(database),
        String(options.count),
      ])
      await admin(server.url(), `drop database ${database} with (force)`)
      // Or the next one pays for the writing of this one's pages.
      await admin(server.url(), 'checkpoint')
      results.get(name)?.push(result)
      options.note(
        `round ${round + 1}: ${name} inserted ${Math.round(result.insertPerSecond)}/s, drained ${Math.round(result.drainPerSecond)}/s`,
      )
    }
  }
  const versions = new Map<Name, string>()
  for (const name of PEERS) versions.set(name, await versionOf(name))
  return [
    ...rowsOf('drain', 'drainPerSecond', results, versions),
    ...rowsOf('bulk insert', 'insertPerSecond', results, versions),
  ]
}

function rowsOf(
  metric: string,
  field: keyof RunResult,
  results: ReadonlyMap<Name, readonly RunResult[]>,
  versions: ReadonlyMap<Name, string>,
): BenchRow[] {
  const value = (name: Name): number => median((results.get(name) ?? []).map((run) => run[field]))
  const own = value('millrace')
  return (['graphile-worker', 'pg-boss', 'floor'] as const).map((name) => ({
    bench: 'jobs',
    metric,
    value: Math.round(own),
    unit: 'jobs/s',
    peer: name === 'floor' ? 'delete … returning alone' : `${name} ${versions.get(name)}`,
    peerValue: Math.round(value(name)),
    ratio: Math.round((own / value(name)) * 100) / 100,
  }))
}

const fileOf = (name: Name): URL => new URL(`./contenders/${name}.ts`, import.meta.url)
