import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import { testDatabase } from '../../support/database.ts'
import { running } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const shipped = event('SHIPPED', {
  source: 'test',
  topic: 'shipments',
  schema: z.object({ how: z.string() }),
  key: () => 'k',
})
const receipt = job('receipt', { args: z.object({}), queue: 'later', handle() {} })

/** Every way to publish from a job; the first attempt fails behind the last of them. */
const ship = job('ship', {
  args: z.object({}),
  backoff: () => 1,
  async handle(_, { attempt, idempotencyKey, publish, insert, transaction }) {
    await publish(shipped, { how: 'anew' })
    await publish(shipped, { how: 'named' }, { id: `${idempotencyKey}:shipped` })
    await insert(receipt, {})
    await transaction(async (tx) => {
      await tx.publish(shipped, { how: 'in the transaction' })
      if (attempt === 1) throw new Error('not this time')
    })
  },
})

test('what a job publishes is there once in its transaction, and can be told apart where it is there twice', async (t) => {
  const { url, pool } = await testDatabase(t)
  await pool.query('create table seen (how text)')
  const count = application('count').on(
    shipped,
    inTransaction(async ({ data }, { tx }) => {
      await tx.query('insert into seen (how) values ($1)', [data.how])
    }),
    { once: '1d' },
  )
  const millrace = await running(t, {
    database: url,
    run: [count],
    jobs: [ship],
    topics: { shipments: { partitions: 1 } },
  })
  await millrace.insert(ship, {})
  await eventually(async () => {
    const { lag } = await millrace.summary()
    const { rows } = await pool.query<{ n: number }>(
      'select count(*)::int as n from millrace.record',
    )
    return rows[0]?.n === 5 && lag === 0
  })
  const { rows } = await pool.query(
    'select how, count(*)::int as n from seen group by 1 order by 1',
  )
  assert.deepEqual(rows, [
    { how: 'anew', n: 2 },
    { how: 'in the transaction', n: 1 },
    { how: 'named', n: 1 },
  ])
  const inserted = await pool.query("select from millrace.job where kind = 'receipt'")
  assert.equal(inserted.rowCount, 2)
})
