import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { isMillraceError } from '../../../src/errors/millrace-error.ts'
import { job } from '../../../src/jobs/job.ts'
import type { JobDetails } from '../../../src/jobs/queries.ts'
import { claimJobs } from '../../../src/worker/claim.ts'
import { completeJobs } from '../../../src/worker/finish-statements.ts'
import { whyAbsent } from '../../../src/worker/stale.ts'
import { gate, jobsBed, takeBack, type JobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const empty = z.object({})

/** The job once its attempts are as many as that. */
function untilAttempts(bed: JobsBed, id: string, attempts: number): Promise<JobDetails> {
  return eventually(async () => {
    const found = await bed.get(id)
    if (found.attempts.length !== attempts) throw new Error(`${found.attempts.length} attempts`)
    return found
  })
}

test('the completion of a job that was taken back changes nothing and is recorded as late', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const slow = job('slow', { args: empty, handle: () => opened })
  const { worker } = await bed.work([slow], { queues: { default: 1 } })
  const id = await bed.insert(slow, {})
  await bed.untilState(id, 'executing')
  await takeBack(bed.pool)
  // Somebody else's now.
  await bed.pool.query(
    `update millrace.job set state = 'executing', attempt = 1, token = gen_random_uuid(),
       process_id = gen_random_uuid()`,
  )
  open()
  const after = await untilAttempts(bed, id, 1)
  assert.equal(after.state, 'executing')
  assert.equal(after.attempts[0]?.outcome, 'late')
  await worker.stop(0)
  assert.equal((await bed.get(id)).state, 'executing')
})

test('the failure of a job that was taken back changes nothing and is recorded as late', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const slow = job('slow', {
    args: empty,
    async handle() {
      await opened
      throw new Error('too late')
    },
  })
  await bed.work([slow], { queues: { default: 1 } })
  const id = await bed.insert(slow, {})
  await bed.untilState(id, 'executing')
  await bed.pool.query('update millrace.job set token = gen_random_uuid()')
  open()
  const after = await untilAttempts(bed, id, 1)
  assert.deepEqual(
    [after.state, after.attempts[0]?.outcome, after.error],
    ['executing', 'late', null],
  )
})

test('a completion whose reply was lost is repeated without being taken for late', async (t) => {
  const bed = await jobsBed(t)
  const plain = job('plain', { args: empty, handle() {} })
  const token = bed.core.ids.uuid()
  const id = await bed.insert(plain, {})
  const claimed = await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['plain'],
    limit: 1,
    processId: token,
    token,
    frontier: Array.from({ length: 10 }, () => 0),
  })
  assert.equal(await completeJobs(bed.pool, claimed), 1)
  assert.equal(await completeJobs(bed.pool, claimed), 0)
  assert.deepEqual([...(await whyAbsent(bed.pool, claimed)).values()], ['ours'])
  assert.equal((await bed.get(id)).state, 'completed')
})

test('a completion finds its row after somebody else has changed it', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const slow = job('slow', { args: empty, handle: () => opened })
  await bed.work([slow])
  const id = await bed.insert(slow, {})
  await bed.untilState(id, 'executing')
  await bed.pool.query('update millrace.job set cancel_asked = true')
  open()
  const done = await bed.untilState(id, 'completed')
  assert.equal(done.attempts.length, 0)
})

test('what a handler writes in its transaction is there exactly if the job is completed', async (t) => {
  const bed = await jobsBed(t)
  await bed.pool.query('create table effect (id uuid primary key, xid xid8)')
  let calls = 0
  const next = job('next', { args: empty, handle() {} })
  const pays = job('pays', {
    args: empty,
    backoff: () => 1,
    async handle(_, { id, transaction }) {
      calls += 1
      await transaction(async (tx) => {
        await tx.query('insert into effect values ($1, pg_current_xact_id())', [id])
        await tx.insert(next, {})
        if (calls === 1) throw new Error('rolled back')
      })
      throw new Error('thrown after the job was completed')
    },
  })
  await bed.work([pays])
  await bed.keepUp()
  const id = await bed.insert(pays, {})
  const done = await bed.untilState(id, 'completed')
  const { rows } = await bed.pool.query(
    `select h.xmin::text = e.xid::text as together,
       (select count(*)::int from millrace.job where kind = 'next') as next
     from effect e join millrace.job_history h using (id)`,
  )
  assert.deepEqual(rows, [{ together: true, next: 1 }])
  assert.deepEqual(
    done.attempts.map(({ error }) => error?.message),
    ['rolled back'],
  )
  await eventually(() =>
    bed.log.some(({ message }) => message.startsWith('a handler threw after its transaction')),
  )
})

test('a transaction of a job that was taken back is rolled back with E_JOB_STALE', async (t) => {
  const bed = await jobsBed(t)
  await bed.pool.query('create table effect (id uuid primary key)')
  const errors: unknown[] = []
  const pays = job('pays', {
    args: empty,
    async handle(_, { id, transaction }) {
      await takeBack(bed.pool)
      await bed.pool.query(
        `update millrace.job set state = 'executing', token = gen_random_uuid(), process_id = gen_random_uuid()`,
      )
      await transaction(async (tx) => {
        await tx.query('insert into effect values ($1)', [id])
      }).catch((error: unknown) => {
        errors.push(error)
        throw error
      })
    },
  })
  await bed.work([pays], { queues: { default: 1 } })
  const id = await bed.insert(pays, {})
  const after = await untilAttempts(bed, id, 1)
  assert.ok(isMillraceError(errors[0]) && errors[0].code === 'E_JOB_STALE')
  assert.deepEqual([after.state, after.attempts[0]?.outcome], ['executing', 'late'])
  assert.equal((await bed.pool.query('select from effect')).rowCount, 0)
})

test('an attempt has one transaction', async (t) => {
  const bed = await jobsBed(t)
  let second: unknown
  const twice = job('twice', {
    args: empty,
    async handle(_, { transaction }) {
      await transaction(async () => {})
      await transaction(async () => {}).catch((error: unknown) => {
        second = error
      })
    },
  })
  await bed.work([twice])
  await bed.untilState(await bed.insert(twice, {}), 'completed')
  assert.ok(isMillraceError(second) && second.code === 'E_JOB_STATE')
})

test('what a handler inserts outside a transaction has the job as its cause', async (t) => {
  const bed = await jobsBed(t)
  const child = job('child', { args: empty, queue: 'later', handle() {} })
  const parent = job('parent', {
    args: empty,
    async handle(_, { insert }) {
      await insert(child, {})
    },
  })
  await bed.work([parent])
  const id = await bed.insert(parent, {})
  await bed.untilState(id, 'completed')
  const { rows } = await bed.pool.query(
    `select meta::json as meta from millrace.job where kind = 'child'`,
  )
  assert.deepEqual(rows, [{ meta: { correlationId: id, causationId: id } }])
})

test('what a handler publishes goes to the publisher with its transaction and its cause', async (t) => {
  const bed = await jobsBed(t)
  const sold = { kind: 'event', type: 'SOLD', key: () => null } as const
  const calls: { readonly inTx: boolean; readonly jobId: string }[] = []
  const sells = job('sells', {
    args: empty,
    async handle(_, { publish, transaction }) {
      await publish(sold, {})
      await transaction(async (tx) => {
        await tx.publish(sold, {})
      })
    },
  })
  await bed.work([sells], {
    publisher: {
      async publish(_definition, _data, { tx, cause }) {
        calls.push({ inTx: tx !== undefined, jobId: cause.jobId })
      },
    },
  })
  const id = await bed.insert(sells, {})
  await bed.untilState(id, 'completed')
  assert.deepEqual(calls, [
    { inTx: false, jobId: id },
    { inTx: true, jobId: id },
  ])
})
