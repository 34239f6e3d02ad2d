import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { createCore } from '../../src/core/core.ts'
import { setFailpointHandler } from '../../src/core/failpoint.ts'
import { seededRandom } from '../../src/core/random.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { migrate } from '../../src/postgres/migrate.ts'
import { transaction } from '../../src/postgres/transaction.ts'
import { embeddedPostgres, type EmbeddedPostgres } from '../../src/testing/embedded-postgres.ts'
import { cleanup } from '../support/cleanup.ts'
import { eventually } from '../support/wait.ts'
import { ChaosRun } from './chaos-run.ts'

const CRASHES = 4

/** A server of this test's own, with its data on the disk: what it has promised to have written is not lost with it. */
async function crashingServer(
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

test('knows that a transaction which a crash took away before COMMIT was rolled back', async (t) => {
  const { server, pool } = await crashingServer(t)
  await pool.query('create table written (n integer)')
  t.after(() => setFailpointHandler(undefined))
  let restarted: Promise<void> | undefined
  setFailpointHandler(async (name) => {
    if (name !== 'transaction:before-commit') return
    setFailpointHandler(undefined)
    await server.kill()
    restarted = server.restart()
  })
  const attempt = transaction(pool, createCore(), (tx) =>
    tx.query('insert into written values (1)'),
  )
  await assert.rejects(attempt, { code: 'E_DB_CONNECT' })
  await restarted
  const { rows } = await pool.query('select n from written')
  assert.deepEqual(rows, [])
})

test('survives crashes of the database under load', async (t) => {
  const { server, pool } = await crashingServer(t)
  await migrate(pool)

  const run = await ChaosRun.begin(t, {
    name: 'crashes of the database',
    database: { url: server.url(), pool },
    workers: { batchRecords: 10 },
  })
  const random = seededRandom(run.seed)
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  let loaded = false
  const load = (async () => {
    while (!loaded) await run.producer.produce(20)
  })()
  for (let crash = 0; crash < CRASHES; crash += 1) {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(500 + random.next() * 1_000)
    const at = Date.now()
    const { pid } = server
    if (crash % 2 === 0) await server.kill()
    else await server.stop('immediate')
    await server.restart()
    const uptime = await eventually(async () => {
      const { rows } = await pool.query<{ ms: number }>(
        `select (extract(epoch from clock_timestamp() - pg_postmaster_start_time()) * 1000)::float8 as ms`,
      )
      return rows[0] as { readonly ms: number }
    })
    run.fault(crash % 2 === 0 ? 'SIGKILL' : 'SIGQUIT', 'postmaster', at, {
      seen: server.pid !== pid && uptime.ms < Date.now() - at,
      text: `process ${pid} became ${server.pid}, up for ${Math.round(uptime.ms)} ms`,
    })
  }
  loaded = true
  await load
  await run.quiet(40_000)
  await run.pass()
})
