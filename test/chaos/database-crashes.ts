import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { seededRandom } from '../../src/core/random.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { migrate } from '../../src/postgres/migrate.ts'
import { embeddedPostgres, type EmbeddedPostgres } from '../../src/testing/embedded-postgres.ts'
import { cleanup } from '../support/cleanup.ts'
import { eventually } from '../support/wait.ts'
import { ChaosRun } from './chaos-run.ts'
import { underLoad } from './load.ts'
import type { ScenarioOptions } from './scenarios.ts'

/** A server of this test's own, with its data on the disk: what it has promised to have written is not lost with it. */
export async function crashingServer(
  t: TestContext,
): Promise<{ server: EmbeddedPostgres; pool: pg.Pool }> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-crash-'))
  cleanup(t, () => rm(directory, { recursive: true, force: true }))
  const server = await embeddedPostgres({ directory: join(directory, 'server') })
  cleanup(t, async () => {
    await server.stop('immediate')
    // As root its files lie elsewhere.
    await rm(server.directory, { recursive: true, force: true })
  })
  const pool = createPool(server.url(), { max: 5 })
  pool.on('error', () => {
    // It is going to crash.
  })
  cleanup(t, () => pool.end())
  return { server, pool }
}

/** Crashes the server by a signal to its postmaster, starts it again, and gives what is seen of that. */
export async function crashed(
  { server, pool }: { readonly server: EmbeddedPostgres; readonly pool: pg.Pool },
  signal: 'SIGKILL' | 'SIGQUIT',
): Promise<{ readonly seen: boolean; readonly text: string }> {
  const at = Date.now()
  const { pid } = server
  if (signal === 'SIGKILL') await server.kill()
  else await server.stop('immediate')
  await server.restart()
  const uptime = await eventually(async () => {
    const { rows } = await pool.query<{ ms: number }>(
      `select (extract(epoch from clock_timestamp() - pg_postmaster_start_time()) * 1000)::float8 as ms`,
    )
    return rows[0] as { readonly ms: number }
  })
  return {
    seen: server.pid !== pid && uptime.ms < Date.now() - at,
    text: `process ${pid} became ${server.pid}, up for ${Math.round(uptime.ms)} ms`,
  }
}

/** The database crashes again and again under load, and is started again. */
export async function databaseCrashes(
  t: TestContext,
  { crashes, ...options }: ScenarioOptions & { readonly crashes: number },
): Promise<ChaosRun> {
  const { server, pool } = await crashingServer(t)
  await migrate(pool)

  const run = await ChaosRun.begin(t, {
    name: 'crashes of the database',
    database: { url: server.url(), pool },
    workers: { batchRecords: 10 },
    ...options,
  })
  const random = seededRandom(run.seed)
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  const end = underLoad(run)
  for (let crash = 0; crash < crashes; crash += 1) {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(500 + random.next() * 1_000)
    const at = Date.now()
    const signal = crash % 2 === 0 ? 'SIGKILL' : 'SIGQUIT'
    run.fault(signal, 'postmaster', at, await crashed({ server, pool }, signal))
  }
  await end()
  await run.quiet(40_000)
  return run
}
