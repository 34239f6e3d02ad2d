import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { StopReason } from '../../../src/core/abort.ts'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { claimJobs } from '../../../src/worker/claim.ts'
import { gate, jobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const empty = z.object({})
const frontier = Array.from({ length: 10 }, () => 0)

test('a stop lets running jobs end within the grace period and hands back what was not started', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  let started = 0
  const slow = job('slow', {
    args: empty,
    async handle() {
      started += 1
      // The first ones are fast, so that the worker claims ahead.
      if (started > 20) await opened
    },
  })
  const jobs = Array.from({ length: 200 }, () => newJob(bed.core, slow, {}))
  await insertJobsNow(bed, jobs)
  const { worker } = await bed.work([slow], { queues: { default: 2 }, limits: { pollMs: 10_000 } })
  await eventually(() => started === 22)
  const stopping = worker.stop()
  open()
  await stopping
  assert.equal(started, 22)
  const { rows } = await bed.pool.query(
    'select state, attempt, count(*)::int as n from millrace.job group by state, attempt',
  )
  assert.deepEqual(rows, [{ state: 'available', attempt: 0, n: 178 }])
  const history = await bed.pool.query('select from millrace.job_history')
  assert.equal(history.rowCount, 22)
})

test('a job that is interrupted by a stop keeps its attempt, and the interruption is recorded', async (t) => {
  const bed = await jobsBed(t)
  let reason: unknown
  const started = gate()
  const long = job('long', {
    args: empty,
    async handle(_, { signal }) {
      started.open()
      await sleep(60_000, undefined, { signal }).catch((error: unknown) => {
        reason = signal.reason
        throw error
      })
    },
  })
  const { worker } = await bed.work([long])
  const id = await bed.insert(long, {})
  await started.opened
  await worker.stop(20)
  assert.ok(reason instanceof StopReason)
  const back = await bed.get(id)
  assert.deepEqual([back.state, back.attempt], ['available', 0])
  assert.deepEqual(
    back.attempts.map(({ attempt, outcome }) => [attempt, outcome]),
    [[1, 'interrupted']],
  )
})

test('a job that ignores the stop is given back all the same', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  const deaf = job('deaf', { args: empty, handle: () => opened })
  const { worker } = await bed.work([deaf])
  const id = await bed.insert(deaf, {})
  await bed.untilState(id, 'executing')
  await worker.stop(0)
  const back = await bed.get(id)
  assert.deepEqual([back.state, back.attempts[0]?.outcome], ['available', 'interrupted'])
  open()
})

test('a second stop ends the grace period of the first', async (t) => {
  const bed = await jobsBed(t)
  const deaf = job('deaf', {
    args: empty,
    handle: (_, { signal }) => sleep(60_000, undefined, { signal }),
  })
  const { worker } = await bed.work([deaf])
  const id = await bed.insert(deaf, {})
  await bed.untilState(id, 'executing')
  const first = worker.stop(600_000)
  await worker.stop(0)
  await first
  assert.equal((await bed.get(id)).state, 'available')
})

test('a stop before the start and a stop after the stop do nothing', async (t) => {
  const bed = await jobsBed(t)
  const plain = job('plain', { args: empty, handle() {} })
  const { worker } = await bed.work([plain])
  await worker.stop()
  await worker.stop()
  worker.start()
  const id = await bed.insert(plain, {})
  assert.equal((await bed.get(id)).state, 'available')
})

test('jobs that the database says are ours, and that we do not hold, are handed back', async (t) => {
  const bed = await jobsBed(t)
  const plain = job('plain', { args: empty, handle() {} })
  const id = await bed.insert(plain, {})
  // A claim under the worker's id whose reply nobody gets.
  const { heartbeat } = await bed.work(
    [job('other', { args: empty, queue: 'other', handle() {} })],
    {
      limits: { pollMs: 20 },
    },
  )
  await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['plain'],
    limit: 5,
    processId: heartbeat.id,
    token: bed.core.ids.uuid(),
    frontier,
  })
  assert.equal((await bed.get(id)).state, 'executing')
  const back = await bed.untilState(id, 'available')
  assert.equal(back.attempt, 0)
})

test('while the heartbeat does not get through, nothing is started', async (t) => {
  const bed = await jobsBed(t)
  let started = 0
  const plain = job('plain', {
    args: empty,
    handle() {
      started += 1
    },
  })
  const id = bed.core.ids.uuid()
  let alive = false
  await bed.work([plain], {
    heartbeat: {
      id,
      get alive() {
        return alive
      },
      alone: true,
      onLapse: () => () => {},
    },
  })
  const waiting = await bed.insert(plain, {})
  const beside = job('beside', { args: empty, queue: 'beside', handle() {} })
  await bed.work([beside])
  await bed.untilState(await bed.insert(beside, {}), 'completed')
  assert.deepEqual([started, (await bed.get(waiting)).state], [0, 'available'])
  alive = true
  await bed.untilState(waiting, 'completed')
})

test('after a lapse, what is buffered is dropped and what runs goes on up to the fence', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  let calls = 0
  const slow = job('slow', {
    args: empty,
    async handle() {
      calls += 1
      await opened
    },
  })
  let onLapse = (): void => {}
  const ids = [bed.core.ids.uuid(), bed.core.ids.uuid()]
  const heartbeat = {
    id: ids[0] as string,
    alive: true,
    alone: true,
    onLapse: (action: () => void) => {
      onLapse = action
      return () => {}
    },
  }
  await bed.work([slow], { heartbeat, queues: { default: 1 } })
  const id = await bed.insert(slow, {})
  await bed.untilState(id, 'executing')
  await eventually(() => calls === 1)
  heartbeat.id = ids[1] as string
  onLapse()
  await bed.pool.query(
    `update millrace.job set state = 'available', token = null, process_id = null, suspect = true, attempt = 0`,
  )
  open()
  const late = await eventually(async () => (await bed.get(id)).attempts[0])
  assert.equal(late?.outcome, 'late')
  // It comes back as a suspect, and is done.
  const done = await bed.untilState(id, 'completed')
  assert.deepEqual([done.attempt, calls], [1, 2])
})
