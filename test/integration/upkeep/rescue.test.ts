import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FinishedJob } from '../../../src/jobs/finished.ts'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { getJob } from '../../../src/jobs/queries.ts'
import type { DutyParts } from '../../../src/upkeep/duty.ts'
import { rescue } from '../../../src/upkeep/rescue.ts'
import { claimJobs } from '../../../src/worker/claim.ts'
import { completeJobs } from '../../../src/worker/finish-statements.ts'
import { dropHistoryDays, jobsBed, type JobsBed } from '../../support/jobs.ts'
import { spawnNode } from '../../support/process.ts'
import { touchy } from './touchy.ts'

const scenario = new URL('./crash-scenario.ts', import.meta.url)
const bottom = Array.from({ length: 10 }, () => 0)

function parts(bed: JobsBed, told: FinishedJob[] = []): DutyParts {
  const onFinished = async (_tx: unknown, jobs: readonly FinishedJob[]): Promise<void> => {
    told.push(...jobs)
  }
  return { core: bed.core, pool: bed.pool, waker: bed.waker, hooks: { onFinished }, historyDays: 7 }
}

const run = (duty: DutyParts): Promise<number | void> =>
  rescue.run(duty, new AbortController().signal)

test('jobs of a killed process become suspects, uncharged, and are executed one at a time', async (t) => {
  const bed = await jobsBed(t)
  await bed.keepUp()
  const victim = spawnNode(t, scenario, { args: [bed.url] })
  await victim.waitFor('ready')
  const jobs = [1, 2, 3].map(() => newJob(bed.core, touchy, { does: 'hang' }))
  await insertJobsNow(bed, jobs)
  for (const _ of jobs) await victim.waitFor('started')
  victim.kill('SIGKILL')
  for (const { id } of jobs) {
    const back = await bed.untilState(id, 'available')
    assert.deepEqual([back.attempt, back.suspect, back.crashes], [0, true, 0])
    const [lost, ...others] = back.attempts
    assert.deepEqual([lost?.outcome, lost?.attempt, others], ['lost', 1, []])
  }
  const second = spawnNode(t, scenario, { args: [bed.url] })
  await second.waitFor('started')
  const fine = newJob(bed.core, touchy, { does: 'nothing' })
  await insertJobsNow(bed, [fine])
  await bed.untilState(fine.id, 'completed')
  const { rows } = await bed.pool.query(
    'select state, started_at is not null as marked, count(*)::int as n from millrace.job group by 1, 2 order by 1',
  )
  assert.deepEqual(rows, [
    { state: 'available', marked: false, n: 2 },
    { state: 'executing', marked: true, n: 1 },
  ])
})

test('only the job that kills its process is charged, and it is discarded when it has done so often enough', async (t) => {
  const bed = await jobsBed(t)
  const told: FinishedJob[] = []
  await bed.keepUp({ hooks: { onFinished: async (_, jobs) => void told.push(...jobs) } })
  const killer = newJob(bed.core, touchy, { does: 'kill' })
  const innocent = newJob(bed.core, touchy, { does: 'nothing' }, { scheduleIn: '1h' })
  await insertJobsNow(bed, [killer, innocent])
  // One look at it for all lives: a look that outlives the test keeps the process of this file from ending.
  const discarded = bed.untilState(killer.id, 'discarded').then(
    () => true,
    () => false,
  )
  // Held by the first process as well, so that nobody knows which of the two it was.
  for (let life = 0; life < 5; life += 1) {
    const process = spawnNode(t, scenario, { args: [bed.url] })
    await process.waitFor('ready')
    if (life === 0) {
      await bed.pool.query(
        `update millrace.job set state = 'available', scheduled_at = clock_timestamp(), place = 1000 where id = $1`,
        [innocent.id],
      )
    }
    if (await Promise.race([process.exited.then(() => false), discarded])) break
  }
  const dead = await bed.untilState(killer.id, 'discarded')
  assert.deepEqual([dead.crashes, dead.error?.code], [2, 'E_JOB_CRASHED'])
  assert.deepEqual(
    dead.attempts.map(({ attempt, outcome }) => [attempt, outcome]),
    [
      [1, 'lost'],
      [1, 'crashed'],
      [2, 'crashed'],
    ],
  )
  assert.deepEqual(
    told.map(({ id, state, error }) => [id, state, error?.code]),
    [[killer.id, 'discarded', 'E_JOB_CRASHED']],
  )
  const done = await bed.untilState(innocent.id, 'completed')
  assert.equal(done.crashes, 0)
})

test('a job that was completed is never rescued', async (t) => {
  const bed = await jobsBed(t)
  const jobs = [1, 2].map(() => newJob(bed.core, touchy, { does: 'nothing' }))
  await insertJobsNow(bed, jobs)
  const dead = bed.core.ids.uuid()
  const claimed = await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['touchy'],
    limit: 2,
    processId: dead,
    token: dead,
    frontier: bottom,
  })
  // The completion is under way while the rescue looks: it skips the row, and afterwards there is none.
  const client = await bed.pool.connect()
  try {
    await client.query('begin')
    assert.equal(await completeJobs(client, claimed.slice(0, 1)), 1)
    await run(parts(bed))
    await client.query('commit')
  } finally {
    client.release()
  }
  await run(parts(bed))
  assert.equal((await getJob(bed.pool, claimed[0]?.id ?? ''))?.state, 'completed')
  const other = await bed.get(claimed[1]?.id ?? '')
  assert.deepEqual([other.state, other.suspect, other.attempt], ['available', true, 0])
})

test('jobs of living processes are left alone, however long they take', async (t) => {
  const bed = await jobsBed(t)
  const job = newJob(bed.core, touchy, { does: 'nothing' })
  await insertJobsNow(bed, [job])
  const living = bed.core.ids.uuid()
  await bed.pool.query(
    `insert into millrace.process (id, name, expires_at) values ($1, 'living', clock_timestamp() + interval '1 minute')`,
    [living],
  )
  await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['touchy'],
    limit: 1,
    processId: living,
    token: living,
    frontier: bottom,
  })
  await bed.pool.query(
    `update millrace.job set attempted_at = clock_timestamp() - interval '1 day'`,
  )
  await run(parts(bed))
  assert.equal((await bed.get(job.id)).state, 'executing')
})

test('more jobs of a dead process than fit a batch are all rescued in one turn', async (t) => {
  const bed = await jobsBed(t)
  const jobs = Array.from({ length: 1_200 }, () => newJob(bed.core, touchy, { does: 'nothing' }))
  await insertJobsNow(bed, jobs)
  const dead = bed.core.ids.uuid()
  await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['touchy'],
    limit: 1_200,
    processId: dead,
    token: dead,
    frontier: bottom,
  })
  await run(parts(bed))
  const { rows } = await bed.pool.query(
    'select state, suspect, count(*)::int as n from millrace.job group by 1, 2',
  )
  assert.deepEqual(rows, [{ state: 'available', suspect: true, n: 1_200 }])
})

test('an executing job that was asked to be cancelled ends as cancelled when its process dies', async (t) => {
  const bed = await jobsBed(t)
  const job = newJob(bed.core, touchy, { does: 'nothing' })
  await insertJobsNow(bed, [job])
  const dead = bed.core.ids.uuid()
  await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['touchy'],
    limit: 1,
    processId: dead,
    token: dead,
    frontier: bottom,
  })
  await bed.pool.query('update millrace.job set cancel_asked = true')
  const told: FinishedJob[] = []
  await run(parts(bed, told))
  assert.equal((await bed.get(job.id)).state, 'cancelled')
  assert.deepEqual(
    told.map(({ state }) => state),
    ['cancelled'],
  )
})

test('a job of a dead process is rescued although there is no day for it to be written to', async (t) => {
  const bed = await jobsBed(t)
  const job = newJob(bed.core, touchy, { does: 'nothing' })
  await insertJobsNow(bed, [job])
  const dead = bed.core.ids.uuid()
  await claimJobs(bed.pool, {
    queue: 'default',
    kinds: ['touchy'],
    limit: 1,
    processId: dead,
    token: dead,
    frontier: bottom,
  })
  await bed.pool.query('update millrace.job set cancel_asked = true')
  await dropHistoryDays(bed.pool)
  await run(parts(bed))
  assert.equal((await bed.get(job.id)).state, 'cancelled')
})
