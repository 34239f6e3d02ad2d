import assert from 'node:assert/strict'
import test from 'node:test'
import { createCore } from '../../src/core/core.ts'
import { setFailpointHandler } from '../../src/core/failpoint.ts'
import { transaction } from '../../src/postgres/transaction.ts'
import { crashingServer, databaseCrashes } from './database-crashes.ts'

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
  const run = await databaseCrashes(t, { crashes: 4 })
  await run.pass()
})
