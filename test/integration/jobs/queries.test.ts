import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import type { FinishedJob } from '../../../src/jobs/finished.ts'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { cancelJobs, getJob, listJobs, queueCounts, retryJobs } from '../../../src/jobs/queries.ts'
import { gate, jobsBed } from '../../support/jobs.ts'

const numbered = z.object({ n: z.int() })
const plain = job('plain', { args: numbered, handle() {} })
const unknownId = '00000000-0000-7000-8000-000000000000'

test('jobs are listed newest first, page by page, finished ones among the others', async (t) => {
  const bed = await jobsBed(t)
  const jobs = Array.from({ length: 25 }, (_, n) =>
    newJob(bed.core, plain, { n }, { queue: n % 2 === 0 ? 'even' : 'odd' }),
  )
  await insertJobsNow(bed, jobs)
  await cancelJobs(
    bed,
    jobs.slice(5, 15).map(({ id }) => id),
  )
  const seen: string[] = []
  let after: string | null = null
  do {
    const page: Awaited<ReturnType<typeof listJobs>> = await listJobs(bed.pool, {
      limit: 7,
      ...(after === null ? {} : { after }),
    })
    seen.push(...page.jobs.map(({ id }) => id))
    after = page.next
  } while (after !== null)
  assert.deepEqual(seen, jobs.map(({ id }) => id).toReversed())
  const odd = await listJobs(bed.pool, { state: 'cancelled', queue: 'odd', kind: 'plain' })
  assert.deepEqual(
    odd.jobs.map(({ id, state }) => [id, state]),
    jobs
      .slice(5, 15)
      .filter((_, at) => at % 2 === 0)
      .map(({ id }) => [id, 'cancelled'])
      .toReversed(),
  )
  assert.deepEqual((await listJobs(bed.pool, { application: 'nobody' })).jobs, [])
})

test('wrong filters are reported together', async (t) => {
  const bed = await jobsBed(t)
  await assert.rejects(listJobs(bed.pool, { limit: 0, state: 'done' as 'completed' }), {
    code: 'E_CONFIG_INVALID',
    message: /limit[^]*state/,
  })
})

test('waiting jobs are cancelled at once, in the transaction of the hook, and finished ones are left', async (t) => {
  const bed = await jobsBed(t)
  const now = newJob(bed.core, plain, { n: 1 })
  const later = newJob(bed.core, plain, { n: 2 }, { scheduleIn: '1h' })
  await insertJobsNow(bed, [now, later])
  const told: FinishedJob[] = []
  const hooks = {
    onFinished: async (_: unknown, jobs: readonly FinishedJob[]) => void told.push(...jobs),
  }
  const result = await cancelJobs({ ...bed, hooks }, [now.id, later.id, unknownId])
  assert.deepEqual(result.changed.toSorted(), [now.id, later.id].toSorted())
  assert.deepEqual(result.refused, [{ id: unknownId, state: null }])
  assert.deepEqual(
    told.map(({ state, reason }) => [state, reason]),
    [
      ['cancelled', 'cancelled by an operator'],
      ['cancelled', 'cancelled by an operator'],
    ],
  )
  const again = await cancelJobs(bed, [now.id])
  assert.deepEqual(again.refused, [{ id: now.id, state: 'cancelled' }])
  const [counts] = await queueCounts(bed.pool)
  assert.deepEqual([counts?.unfinished, counts?.cancelled], [0, 2])
})

test('a hook that throws leaves waiting jobs uncancelled', async (t) => {
  const bed = await jobsBed(t)
  const id = await bed.insert(plain, { n: 1 })
  const hooks = {
    onFinished: async () => {
      throw new Error('no')
    },
  }
  await assert.rejects(cancelJobs({ ...bed, hooks }, [id]), /no/)
  assert.equal((await bed.get(id)).state, 'available')
})

test('a discarded job that is retried is executed again under its id, with one more attempt allowed', async (t) => {
  const bed = await jobsBed(t)
  let fails = true
  const keys: string[] = []
  const once = job('once', {
    args: numbered,
    maxAttempts: 1,
    async handle(_, { idempotencyKey }) {
      keys.push(idempotencyKey)
      if (fails) throw new Error('not yet')
    },
  })
  await bed.work([once])
  const id = await bed.insert(once, { n: 1 })
  await bed.untilState(id, 'discarded')
  fails = false
  assert.deepEqual(await retryJobs(bed, [id]), { changed: [id], asked: [], refused: [] })
  const done = await bed.untilState(id, 'completed')
  assert.deepEqual([done.attempt, done.maxAttempts, done.attempts.length], [2, 2, 1])
  assert.deepEqual(keys, [id, id])
  const [counts] = await queueCounts(bed.pool)
  assert.deepEqual([counts?.unfinished, counts?.completed, counts?.discarded], [0, 1, 1])
})

test('a retry brings waiting jobs forward and refuses completed, available and executing ones', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const slow = job('slow', { args: numbered, queue: 'slow', handle: () => opened })
  const later = await bed.insert(plain, { n: 1 }, { scheduleIn: '1h' })
  const available = await bed.insert(plain, { n: 2 }, { queue: 'nobody' })
  const fast = job('fast', { args: numbered, queue: 'fast', handle() {} })
  await bed.work([slow, fast])
  const executing = await bed.insert(slow, { n: 3 })
  await bed.untilState(executing, 'executing')
  const completed = await bed.insert(fast, { n: 4 })
  await bed.untilState(completed, 'completed')
  const result = await retryJobs(bed, [later, available, executing, completed, unknownId])
  assert.deepEqual(result.changed, [later])
  assert.deepEqual(result.refused, [
    { id: available, state: 'available' },
    { id: executing, state: 'executing' },
    { id: completed, state: 'completed' },
    { id: unknownId, state: null },
  ])
  assert.equal((await bed.get(later)).state, 'available')
  open()
})

test('a job that does not exist is not found', async (t) => {
  const bed = await jobsBed(t)
  assert.equal(await getJob(bed.pool, unknownId), undefined)
})

test('the details of a job give its args as they are stored, too large for a number or not', async (t) => {
  const bed = await jobsBed(t)
  const id = await bed.insert(plain, { n: 5 })
  const text = '{"n": 90071992547409931, "x": 1.10}'
  await bed.pool.query('update millrace.job set args = $1 where id = $2', [text, id])
  assert.equal((await bed.get(id)).argsJson, text)
  await cancelJobs(bed, [id])
  assert.equal((await bed.get(id)).argsJson, text)
})

test('the details of a job tell its args, its meta and where it comes from', async (t) => {
  const bed = await jobsBed(t)
  const id = await bed.insert(plain, { n: 5 }, { meta: { correlationId: 'c', traceparent: 't' } })
  const found = await bed.get(id)
  assert.deepEqual(
    [found.args, found.meta, found.kind],
    [{ n: 5 }, { correlationId: 'c', traceparent: 't' }, 'plain'],
  )
})
