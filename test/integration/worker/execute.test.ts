import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { CancelReason, TimeoutReason } from '../../../src/core/abort.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import type { FinishedJob } from '../../../src/jobs/finished.ts'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { cancel, discard, snooze } from '../../../src/jobs/outcome.ts'
import { cancelJobs, queueCounts } from '../../../src/jobs/queries.ts'
import { gate, jobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const numbered = z.object({ n: z.int() })

test('a job whose handler returns is completed and in the history', async (t) => {
  const bed = await jobsBed(t)
  const seen: number[] = []
  const add = job('add', {
    args: numbered,
    handle({ n }) {
      seen.push(n)
    },
  })
  await bed.work([add])
  const id = await bed.insert(add, { n: 7 })
  const done = await bed.untilState(id, 'completed')
  assert.deepEqual(seen, [7])
  assert.equal(done.attempt, 1)
  assert.ok(done.finishedAt instanceof Date)
  const { rowCount } = await bed.pool.query('select from millrace.job')
  assert.equal(rowCount, 0)
})

test('ten thousand jobs are executed once each, and the kept counts agree', async (t) => {
  const bed = await jobsBed(t)
  const times = new Map<number, number>()
  const many = job('many', {
    args: numbered,
    async handle({ n }) {
      times.set(n, (times.get(n) ?? 0) + 1)
    },
  })
  const jobs = Array.from({ length: 10_000 }, (_, n) => newJob(bed.core, many, { n }))
  await insertJobsNow(bed, jobs)
  await bed.work([many])
  await bed.work([many])
  const counts = await eventually(async () => {
    const [queue] = await queueCounts(bed.pool)
    return queue?.completed === jobs.length ? queue : undefined
  })
  assert.ok(counts)
  assert.deepEqual([times.size, Math.max(...times.values())], [jobs.length, 1])
  assert.deepEqual([counts.inserted, counts.unfinished], [jobs.length, 0])
  const { rows } = await bed.pool.query('select count(*)::int as n from millrace.job_history')
  assert.equal(rows[0].n, jobs.length)
})

test('urgent jobs are executed first, and jobs of one priority in the order of their places', async (t) => {
  const bed = await jobsBed(t)
  const order: number[] = []
  const note = job('note', {
    args: numbered,
    handle({ n }) {
      order.push(n)
    },
  })
  const priorities = [5, 9, 0, 5, 0]
  await insertJobsNow(
    bed,
    priorities.map((priority, n) => newJob(bed.core, note, { n }, { priority })),
  )
  await bed.work([note], { queues: { default: 1 } })
  await eventually(() => order.length === priorities.length)
  assert.deepEqual(order, [2, 4, 0, 3, 1])
})

test('an attempt that fails is written down, and its job comes back after the backoff', async (t) => {
  const bed = await jobsBed(t)
  const fails = job('fails', {
    args: numbered,
    backoff: () => 1,
    async handle(_, { attempt }) {
      if (attempt === 1) throw new Error('the first time never works')
    },
  })
  await bed.work([fails])
  const id = await bed.insert(fails, { n: 1 })
  const waiting = await bed.untilState(id, 'retryable')
  assert.equal(waiting.lastError, 'the first time never works')
  assert.equal(waiting.attempt, 1)
  await bed.keepUp()
  const done = await bed.untilState(id, 'completed')
  assert.equal(done.attempt, 2)
  assert.deepEqual(
    done.attempts.map(({ attempt, outcome, error }) => [attempt, outcome, error?.message]),
    [[1, 'failed', 'the first time never works']],
  )
})

test('the last attempt that fails discards the job, and the hook sees it in the same transaction', async (t) => {
  const bed = await jobsBed(t)
  const fails = job('fails', {
    args: numbered,
    maxAttempts: 1,
    async handle() {
      throw new Error('no')
    },
  })
  await bed.pool.query('create table letter (id uuid, xid xid8)')
  const told: FinishedJob[] = []
  await bed.work([fails], {
    hooks: {
      async onFinished(tx, finished) {
        told.push(...finished)
        for (const { id } of finished) {
          await tx.query('insert into letter values ($1, pg_current_xact_id())', [id])
        }
      },
    },
  })
  const id = await bed.insert(fails, { n: 3 })
  const gone = await bed.untilState(id, 'discarded')
  assert.equal(gone.error?.message, 'no')
  assert.equal(told.length, 1)
  assert.deepEqual(
    [told[0]?.id, told[0]?.state, told[0]?.argsJson, told[0]?.error?.message],
    [id, 'discarded', '{"n":3}', 'no'],
  )
  const { rows } = await bed.pool.query(
    'select h.xmin::text = l.xid::text as together from letter l join millrace.job_history h using (id)',
  )
  assert.deepEqual(rows, [{ together: true }])
})

test('a hook that throws leaves the job unfinished until it no longer does', async (t) => {
  const bed = await jobsBed(t)
  const fails = job('fails', { args: numbered, handle: () => discard('hopeless') })
  let calls = 0
  await bed.work([fails], {
    hooks: {
      async onFinished() {
        calls += 1
        if (calls === 1) throw new Error('the hook is not ready')
      },
    },
  })
  const id = await bed.insert(fails, { n: 1 })
  const gone = await bed.untilState(id, 'discarded')
  assert.equal(gone.reason, 'hopeless')
  assert.equal(calls, 2)
})

test('a permanent error discards the job at the first attempt', async (t) => {
  const bed = await jobsBed(t)
  const fails = job('fails', {
    args: numbered,
    async handle() {
      throw permanent('the account is closed')
    },
  })
  await bed.work([fails])
  const id = await bed.insert(fails, { n: 1 })
  const gone = await bed.untilState(id, 'discarded')
  assert.equal(gone.attempt, 1)
  assert.equal(gone.error?.code, 'E_PERMANENT')
  assert.equal(gone.attempts.length, 1)
})

test('args that the deployed schema refuses discard the job without calling the handler', async (t) => {
  const bed = await jobsBed(t)
  const old = job('changed', { args: z.object({ n: z.string() }), handle() {} })
  let called = false
  const now = job('changed', {
    args: numbered,
    handle() {
      called = true
    },
  })
  const id = await bed.insert(old, { n: 'text' })
  await bed.work([now])
  const gone = await bed.untilState(id, 'discarded')
  assert.equal(gone.error?.code, 'E_EVENT_INVALID')
  assert.equal(called, false)
})

test('a snooze brings the job back later and does not count the attempt', async (t) => {
  const bed = await jobsBed(t)
  let calls = 0
  const waits = job('waits', {
    args: numbered,
    maxAttempts: 1,
    handle() {
      calls += 1
      return calls < 3 ? snooze('1ms', 'not there yet') : undefined
    },
  })
  await bed.work([waits])
  const id = await bed.insert(waits, { n: 1 })
  const waiting = await bed.untilState(id, 'scheduled')
  assert.deepEqual([waiting.attempt, waiting.lastError], [0, 'not there yet'])
  await bed.keepUp()
  const done = await bed.untilState(id, 'completed')
  assert.equal(done.attempt, 1)
  assert.equal(calls, 3)
  assert.equal(done.attempts.length, 0)
})

test('a handler that returns cancel ends its job as cancelled, with the reason', async (t) => {
  const bed = await jobsBed(t)
  const stops = job('stops', { args: numbered, handle: () => cancel('withdrawn') })
  await bed.work([stops])
  const id = await bed.insert(stops, { n: 1 })
  assert.equal((await bed.untilState(id, 'cancelled')).reason, 'withdrawn')
})

test('a handler that outlives its time-out loses the attempt at once and keeps its place until it returns', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const started: number[] = []
  let reason: unknown
  const hangs = job('hangs', {
    args: numbered,
    timeout: '50ms',
    backoff: () => 60_000,
    async handle({ n }, { signal }) {
      started.push(n)
      if (n > 1) return
      await opened
      reason = signal.reason
    },
  })
  const beside = job('beside', { args: numbered, queue: 'beside', handle() {} })
  await bed.work([hangs, beside], { queues: { default: 1, beside: 1 } })
  const id = await bed.insert(hangs, { n: 1 })
  const back = await bed.untilState(id, 'retryable')
  assert.deepEqual(
    back.attempts.map(({ outcome, error }) => [outcome, error?.code]),
    [['timed_out', 'E_JOB_TIMEOUT']],
  )
  const next = await bed.insert(hangs, { n: 2 })
  await bed.untilState(await bed.insert(beside, { n: 3 }), 'completed')
  assert.deepEqual(started, [1])
  open()
  await bed.untilState(next, 'completed')
  assert.ok(reason instanceof TimeoutReason)
  const late = await eventually(async () => (await bed.get(id)).attempts[1])
  assert.equal(late?.outcome, 'late')
  assert.equal((await bed.get(id)).state, 'retryable')
})

test('an executing job that somebody cancels sees its signal aborted and ends as cancelled', async (t) => {
  const bed = await jobsBed(t)
  let reason: unknown
  const started = gate()
  const long = job('long', {
    args: numbered,
    async handle(_, { signal }) {
      started.open()
      try {
        await sleep(60_000, undefined, { signal })
      } catch (error) {
        reason = signal.reason
        throw error
      }
    },
  })
  const told: FinishedJob[] = []
  await bed.work([long], { hooks: { onFinished: async (_, jobs) => void told.push(...jobs) } })
  const id = await bed.insert(long, { n: 1 })
  await started.opened
  const result = await cancelJobs(bed, [id])
  assert.deepEqual(result, { changed: [], asked: [id], refused: [] })
  const gone = await bed.untilState(id, 'cancelled')
  assert.ok(reason instanceof CancelReason)
  assert.equal(gone.reason, 'cancelled by an operator')
  assert.deepEqual(
    told.map(({ state }) => state),
    ['cancelled'],
  )
})

test('a cancellation whose wake-up is lost is noticed by asking', async (t) => {
  const bed = await jobsBed(t)
  const started = gate()
  const long = job('long', {
    args: numbered,
    async handle(_, { signal }) {
      started.open()
      await sleep(60_000, undefined, { signal })
    },
  })
  await bed.work([long])
  const id = await bed.insert(long, { n: 1 })
  await started.opened
  await bed.pool.query('update millrace.job set cancel_asked = true')
  await bed.untilState(id, 'cancelled')
})

test('a job that is asked to be cancelled and then fails or snoozes does not come back', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const ends = job('ends', {
    args: numbered,
    async handle({ n }) {
      await opened
      if (n === 1) throw new Error('failed meanwhile')
      return snooze('1h')
    },
  })
  await bed.work([ends])
  const ids = [await bed.insert(ends, { n: 1 }), await bed.insert(ends, { n: 2 })]
  for (const id of ids) await bed.untilState(id, 'executing')
  // Behind the worker's back, and too short before the end for it to ask.
  await bed.pool.query('update millrace.job set cancel_asked = true')
  open()
  for (const id of ids) await bed.untilState(id, 'cancelled')
})

test('jobs of unknown kinds are left alone', async (t) => {
  const bed = await jobsBed(t)
  const known = job('known', { args: numbered, handle() {} })
  const unknown = job('unknown', { args: numbered, handle() {} })
  const left = await bed.insert(unknown, { n: 1 })
  const done = await bed.insert(known, { n: 1 })
  await bed.work([known])
  await bed.untilState(done, 'completed')
  const job1 = await bed.get(left)
  assert.deepEqual([job1.state, job1.attempt], ['available', 0])
})

test('a slow queue does not hold up another queue of the same worker', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const slow = job('slow', { args: numbered, queue: 'slow', handle: () => opened })
  const fast = job('fast', { args: numbered, queue: 'fast', handle() {} })
  await bed.work([slow, fast], { queues: { slow: 1, fast: { concurrency: 2 } } })
  const first = await bed.insert(slow, { n: 1 })
  await bed.untilState(first, 'executing')
  await bed.untilState(await bed.insert(fast, { n: 1 }), 'completed')
  open()
  await bed.untilState(first, 'completed')
})

test('completed jobs are told to the hook only when it asks for them', async (t) => {
  const bed = await jobsBed(t)
  const told: string[] = []
  const plain = job('plain', { args: numbered, handle() {} })
  await bed.work([plain], {
    hooks: {
      includeCompleted: true,
      onFinished: async (_, jobs) => void told.push(...jobs.map(({ state }) => state)),
    },
  })
  await bed.untilState(await bed.insert(plain, { n: 1 }), 'completed')
  assert.deepEqual(told, ['completed'])
})
