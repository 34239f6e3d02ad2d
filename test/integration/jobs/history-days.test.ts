import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { ensureHistoryDays } from '../../../src/jobs/history-days.ts'
import { job } from '../../../src/jobs/job.ts'
import { cancel } from '../../../src/jobs/outcome.ts'
import { cancelJobs, retryJobs } from '../../../src/jobs/queries.ts'
import { dropHistoryDays, jobsBed, type JobsBed } from '../../support/jobs.ts'

const numbered = z.object({ n: z.int() })

async function days({ pool }: JobsBed): Promise<number> {
  const { rowCount } = await pool.query(
    `select from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where inhparent in ('millrace.job_history'::regclass, 'millrace.job_attempt'::regclass)`,
  )
  return rowCount ?? 0
}

for (const [how, state, handle] of [
  ['completed', 'completed', () => {}],
  [
    'put back',
    'retryable',
    () => {
      throw new Error('no')
    },
  ],
  ['ended', 'cancelled', () => cancel('no more')],
] as const) {
  test(`a job is ${how} although there is no day for it to be written to`, async (t) => {
    const bed = await jobsBed(t)
    await dropHistoryDays(bed.pool)
    const one = job('one', { args: numbered, backoff: () => 60_000, handle })
    await bed.work([one])
    const id = await bed.insert(one, { n: 1 })
    await bed.untilState(id, state)
    assert.equal(await days(bed), 8)
  })
}

test("a handler's transaction that finds no day fails, and its next attempt is completed", async (t) => {
  const bed = await jobsBed(t)
  await dropHistoryDays(bed.pool)
  const own = job('own', {
    args: numbered,
    backoff: () => 1,
    async handle(_, context) {
      await context.transaction((tx) => tx.query('select'))
    },
  })
  await bed.work([own])
  await bed.keepUp()
  const done = await bed.untilState(await bed.insert(own, { n: 1 }), 'completed')
  assert.ok(done.attempt <= 2)
})

test('jobs are cancelled and retried although there is no day', async (t) => {
  const bed = await jobsBed(t)
  const one = job('one', { args: numbered, handle() {} })
  const id = await bed.insert(one, { n: 1 })
  await dropHistoryDays(bed.pool)
  assert.deepEqual((await cancelJobs(bed, [id])).changed, [id])
  assert.equal((await bed.get(id)).state, 'cancelled')
  assert.deepEqual((await retryJobs(bed, [id])).changed, [id])
})

test('days are made when they are asked for, and once', async (t) => {
  const bed = await jobsBed(t)
  await dropHistoryDays(bed.pool)
  await Promise.all([ensureHistoryDays(bed), ensureHistoryDays(bed)])
  assert.equal(await days(bed), 8)
})
