import { z } from 'zod'
import { start } from '../src/app/start.ts'
import { toJob } from '../src/bridge/to-job.ts'
import { application } from '../src/consumer/application.ts'
import { createCore } from '../src/core/core.ts'
import { event } from '../src/events/event.ts'
import { job } from '../src/jobs/job.ts'
import { tableLog } from '../src/log/table-log.ts'
import { createPool } from '../src/postgres/connect.ts'
import { migrate } from '../src/postgres/migrate.ts'
import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { admin, median } from './contender-process.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

const noted = event('NOTED', {
  source: 'BENCH',
  topic: 'notes',
  schema: z.object({ n: z.int() }),
  key: ({ n }) => String(n % 1_000),
})
const note = job('bench.note', { args: z.object({ n: z.int() }), handle() {} })

/**
 * What a handler pays that handles an event once: how fast records of six partitions of the table log become one job each
 * (which nobody executes), with `once` and without it, and how many bytes the table keeps per event. Rounds take turns; a
 * figure is the median of the rounds.
 */
export async function benchOnce(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({
    settings: { shared_buffers: '1GB', max_wal_size: '4GB', min_wal_size: '2GB' },
    onNotice: options.note,
  })
  const rates: Record<'with' | 'without', number[]> = { with: [], without: [] }
  const bytes: number[] = []
  for (let round = 0; round < options.rounds; round += 1) {
    for (const how of round % 2 === 0
      ? (['with', 'without'] as const)
      : (['without', 'with'] as const)) {
      const database = `once_${how}_${round}`
      await admin(server.url(), `create database ${database}`)
      const result = await readAll(server.url(database), options.count, how === 'with')
      await admin(server.url(), `drop database ${database} with (force)`)
      await admin(server.url(), 'checkpoint')
      rates[how].push(result.perSecond)
      if (how === 'with') bytes.push(result.bytes / options.count)
      options.note(
        `round ${round + 1}: ${how} once ${Math.round(result.perSecond)}/s, ${Math.round(result.bytes / options.count)} bytes per event`,
      )
    }
  }
  const own = median(rates.with)
  const peer = median(rates.without)
  options.note(`${Math.round(median(bytes))} bytes of millrace.seen_event per event and handler`)
  return [
    {
      bench: 'once',
      metric: 'records to jobs, each event once',
      value: Math.round(own),
      unit: 'records/s',
      peer: 'every record',
      peerValue: Math.round(peer),
      ratio: Math.round((own / peer) * 100) / 100,
    },
  ]
}

async function readAll(
  url: string,
  count: number,
  once: boolean,
): Promise<{ readonly perSecond: number; readonly bytes: number }> {
  const pool = createPool(url)
  await migrate(pool)
  const log = tableLog().open({ core: createCore(), pool })
  await log.createTopic('notes', { partitions: 6 })
  await log.close()
  const writer = await start({ database: url, queues: false, upkeep: false })
  for (let at = 0; at < count; at += 5_000) {
    const size = Math.min(5_000, count - at)
    await writer.publishMany(
      noted,
      Array.from({ length: size }, (_, i) => ({ n: at + i })),
    )
  }
  await writer.stop()
  await pool.query('vacuum analyze')
  const app = application('bench', { backlog: { pauseAt: 100_000_000 } }).on(
    noted,
    toJob(note, ({ data }) => data),
    once ? { once: '7d' } : {},
  )
  const millrace = await start({ database: url, run: [app], queues: false })
  const first = 'select min(committed_at) as at from millrace.batch'
  for (;;) {
    const { rows } = await pool.query<{ done: number }>(
      'select coalesce(sum(jobs), 0)::int as done from millrace.batch',
    )
    if (rows[0]?.done === count) break
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const { rows } = await pool.query<{ seconds: number; bytes: number }>(
    `select extract(epoch from max(committed_at) - (${first}))::float8 as seconds,
       pg_total_relation_size('millrace.seen_event')::float8 as bytes from millrace.batch`,
  )
  await millrace.stop()
  await pool.end()
  const { seconds = 0, bytes = 0 } = rows[0] ?? {}
  return { perSecond: count / seconds, bytes }
}
