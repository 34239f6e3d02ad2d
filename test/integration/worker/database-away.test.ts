import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { queueCounts } from '../../../src/jobs/queries.ts'
import { adminUrl, testDatabase } from '../../support/database.ts'
import { gate, jobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'
import pg from 'pg'

const numbered = z.object({ n: z.int() })

/** Ends every session in the database, and lets nobody in while `meanwhile` runs. */
async function shutOut(url: string, meanwhile: () => Promise<void>): Promise<void> {
  const name = new URL(url).pathname.slice(1)
  const admin = new pg.Client({ connectionString: adminUrl() })
  await admin.connect()
  try {
    await admin.query(`alter database ${name} allow_connections false`)
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [
      name,
    ])
    await meanwhile()
    await admin.query(`alter database ${name} allow_connections true`)
  } finally {
    await admin.end()
  }
}

test('results are held while the database is away, and written when it is back', async (t) => {
  const bed = await jobsBed(t)
  const { opened, open } = gate()
  let calls = 0
  const slow = job('slow', {
    args: numbered,
    async handle() {
      calls += 1
      await opened
    },
  })
  const jobs = Array.from({ length: 10 }, (_, n) => newJob(bed.core, slow, { n }))
  await insertJobsNow(bed, jobs)
  await bed.work([slow])
  await eventually(() => calls === jobs.length)
  await shutOut(bed.url, async () => {
    open()
    await eventually(() =>
      bed.log.some(({ message }) => message === 'results could not be written yet'),
    )
  })
  for (const { id } of jobs) await bed.untilState(id, 'completed')
  assert.equal(calls, jobs.length)
})

test('sessions that are ended again and again cost no job and no count', async (t) => {
  const bed = await jobsBed(t)
  const seen = new Set<number>()
  const plain = job('plain', {
    args: numbered,
    async handle({ n }) {
      seen.add(n)
      await new Promise((resolve) => setImmediate(resolve))
    },
  })
  const jobs = Array.from({ length: 5_000 }, (_, n) => newJob(bed.core, plain, { n }))
  await insertJobsNow(bed, jobs)
  await bed.work([plain])
  const beside = await testDatabase(t)
  for (let round = 0; round < 10; round += 1) {
    await beside.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = $1 and query ~ 'millrace:job-'`,
      [new URL(bed.url).pathname.slice(1)],
    )
    const before = seen.size
    await eventually(() => seen.size > before || seen.size === jobs.length)
  }
  const counts = await eventually(
    async () => {
      const [queue] = await queueCounts(bed.pool)
      return queue?.unfinished === 0 ? queue : undefined
    },
    { timeoutMs: 30_000 },
  )
  assert.equal(counts?.completed, jobs.length)
  assert.equal(seen.size, jobs.length)
  const { rows } = await bed.pool.query('select count(*)::int as n from millrace.job_history')
  assert.equal(rows[0].n, jobs.length)
})
