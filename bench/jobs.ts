import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import type { RunResult } from './contenders/contender.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

/** The others, and how they are found. */
const PEERS = ['graphile-worker', 'pg-boss'] as const
const CONTENDERS = ['millrace', ...PEERS, 'floor'] as const
type Name = (typeof CONTENDERS)[number]

/**
 * How fast jobs that do nothing are inserted (1,000 a call) and worked off by one process that keeps the history, beside
 * graphile-worker, pg-boss and `delete … returning` alone, all on one server with durable defaults. Each contender runs
 * in a process and a database of its own, in rounds that take turns, each beginning with another one; a figure is the
 * median of the rounds.
 */
export async function benchJobs(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({
    settings: { shared_buffers: '1GB', max_wal_size: '4GB', min_wal_size: '2GB' },
    onNotice: options.note,
  })
  await warmUp(server.url())
  const results = new Map<Name, RunResult[]>(CONTENDERS.map((name) => [name, []]))
  for (let round = 0; round < options.rounds; round += 1) {
    for (const turn of CONTENDERS.keys()) {
      const name = CONTENDERS[(turn + round) % CONTENDERS.length] as Name
      const database = `${name.replace('-', '_')}_${round}`
      await admin(server.url(), `create database ${database}`)
      const result = await runContender(name, server.url(database), options.count)
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

/** Makes 2 GB of write-ahead log, which is then used again: otherwise whoever comes first pays for making its files. */
async function warmUp(url: string): Promise<void> {
  await admin(
    url,
    'create table filler as select repeat(md5(n::text), 30) from generate_series(1, 1800000) n',
  )
  await admin(url, 'drop table filler')
  await admin(url, 'checkpoint')
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

async function runContender(name: Name, url: string, count: number): Promise<RunResult> {
  const file = new URL(`./contenders/${name}.ts`, import.meta.url)
  const child = spawn(process.execPath, [...process.execArgv, file.pathname, url, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const [code] = (await once(child, 'close')) as [number | null]
  const line = output.trim().split('\n').at(-1) ?? ''
  if (code !== 0 || line === '') throw new Error(`${name} ended with ${code}: ${output}`)
  return JSON.parse(line) as RunResult
}

async function admin(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

async function versionOf(name: string): Promise<string> {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url)
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  if (sorted.length % 2 === 1) return sorted[middle] as number
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
