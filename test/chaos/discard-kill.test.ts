import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'node:test'
import { cleanup } from '../support/cleanup.ts'
import { testDatabase } from '../support/database.ts'
import { eventually } from '../support/wait.ts'

const COUNT = 12_000
/** As many are discarded in one transaction. */
const CHUNK = 5_000

test('goes on where a discard was killed between two of its transactions, and each has its note in the audit', async (t) => {
  const { url, pool } = await testDatabase(t)
  await pool.query(
    `insert into millrace.dead_letter (application, handler, stage, error, attempts)
     select 'billing', 'bill', 'apply', '{}', 1 from generate_series(1, ${COUNT})`,
  )
  const discarded = async (): Promise<number> => {
    const { rows } = await pool.query<{ n: number }>(
      `select count(*)::int as n from millrace.dead_letter where state = 'discarded'`,
    )
    return rows[0]?.n ?? 0
  }
  const audit = async (): Promise<number[]> => {
    const { rows } = await pool.query<{ count: string }>(
      'select count from millrace.operator_action order by id',
    )
    return rows.map(({ count }) => Number(count))
  }
  const discard = () => {
    const args = ['dlq', 'discard', '--app', 'billing', '--reason', 'test data', '--yes']
    const child = spawn(
      process.execPath,
      [new URL('../../src/cli/main.ts', import.meta.url).pathname, ...args],
      { env: { ...process.env, DATABASE_URL: url }, stdio: 'ignore' },
    )
    const exited = once(child, 'exit')
    cleanup(t, async () => {
      child.kill('SIGKILL')
      await exited
    })
    return { child, exited }
  }

  // Whoever holds one of the second transaction's holds it up in the middle.
  const holder = await pool.connect()
  await holder.query('begin')
  await holder.query(`select from millrace.dead_letter where id = ${CHUNK + 2_500} for update`)
  const { child, exited } = discard()
  await eventually(async () => {
    const { rows } = await pool.query(
      `select from pg_stat_activity where wait_event_type = 'Lock' and query like '%millrace:dead-letter-discard%'`,
    )
    return rows.length === 1
  })
  child.kill('SIGKILL')
  await exited
  assert.equal(await discarded(), CHUNK)
  await holder.query('rollback')
  holder.release()
  // The server is told of the death by the statement's end, and takes the transaction back.
  await eventually(async () => {
    const { rows } = await pool.query(
      `select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
         and query like '%millrace:dead-letter-discard%'`,
    )
    return rows.length === 0
  })
  assert.equal(await discarded(), CHUNK)
  assert.deepEqual(await audit(), [CHUNK])

  const [code] = (await discard().exited) as [number]
  assert.equal(code, 0)
  assert.equal(await discarded(), COUNT)
  assert.deepEqual(await audit(), [CHUNK, CHUNK, COUNT - 2 * CHUNK])
})
