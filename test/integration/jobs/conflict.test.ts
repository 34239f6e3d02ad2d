import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { cancelJobs, queueCounts, retryJobs } from '../../../src/jobs/queries.ts'
import { jobsBed, type JobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const plain = job('plain', { args: z.object({}), handle() {} })
const ROUNDS = 5

/**
 * Gives an order for two jobs while somebody else holds the second one and then asks for the first, as a worker that
 * writes results in another order would. PostgreSQL looks for a circle once per wait, so the order's wait must be the
 * longer one and still the first to be looked at. On a machine that is too slow for that the other one is ended instead.
 */
async function crosswise<T>(
  bed: JobsBed,
  ids: readonly string[],
  order: () => Promise<T>,
): Promise<T> {
  const other = await bed.pool.connect()
  try {
    await other.query("begin; set local deadlock_timeout = '3s'")
    const lock = 'update millrace.job set suspect = suspect where id = $1'
    await other.query(lock, [ids[1]])
    const given = order()
    await eventually(async () => {
      const { rowCount } = await bed.pool.query(
        `select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'millrace:job-'
         and datname = current_database()`,
      )
      return (rowCount ?? 0) > 0
    })
    await other.query(lock, [ids[0]]).catch((error: unknown) => {
      assert.equal((error as { code?: unknown }).code, '40P01')
    })
    await other.query('commit')
    return await given
  } finally {
    other.release()
  }
}

/** A bed whose sessions look for circles soon. */
async function hastyBed(t: TestContext): Promise<JobsBed> {
  const bed = await jobsBed(t)
  const name = new URL(bed.url).pathname.slice(1)
  await bed.pool.query(`alter database ${name} set deadlock_timeout = '400ms'`)
  return bed
}

async function conflicts(bed: JobsBed): Promise<number> {
  const { rows } = await bed.pool.query<{ n: number }>(
    'select deadlocks::int as n from pg_stat_database where datname = current_database()',
  )
  return rows[0]?.n ?? 0
}

test('a cancellation that meets a worker crosswise is repeated, and counted once', async (t) => {
  const bed = await hastyBed(t)
  for (let round = 0; round < ROUNDS; round += 1) {
    const jobs = [1, 2].map(() => newJob(bed.core, plain, {}))
    await insertJobsNow(bed, jobs)
    const ids = jobs.map(({ id }) => id)
    const { changed } = await crosswise(bed, ids, () => cancelJobs(bed, ids))
    assert.deepEqual(changed.toSorted(), ids.toSorted())
  }
  await eventually(async () => (await conflicts(bed)) >= ROUNDS)
  const [counts] = await queueCounts(bed.pool)
  assert.deepEqual([counts?.unfinished, counts?.cancelled], [0, 2 * ROUNDS])
})

test('a retry that meets a worker crosswise is repeated', async (t) => {
  const bed = await hastyBed(t)
  for (let round = 0; round < ROUNDS; round += 1) {
    const jobs = [1, 2].map(() => newJob(bed.core, plain, {}, { scheduleIn: '1h' }))
    await insertJobsNow(bed, jobs)
    const ids = jobs.map(({ id }) => id)
    const { changed } = await crosswise(bed, ids, () => retryJobs(bed, ids))
    assert.deepEqual(changed.toSorted(), ids.toSorted())
    for (const id of ids) assert.equal((await bed.get(id)).state, 'available')
  }
  await eventually(async () => (await conflicts(bed)) >= ROUNDS)
})
