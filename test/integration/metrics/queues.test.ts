import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { queueFigures } from '../../../src/jobs/queue-figures.ts'
import { jobsBed } from '../../support/jobs.ts'

test('the figures of queues are a look at the first in line, however many wait', async (t) => {
  const bed = await jobsBed(t)
  const queues = ['mail', 'reports', 'search']
  for (const queue of queues) {
    const kind = job(`in-${queue}`, { args: z.object({}), queue, handle() {} })
    await insertJobsNow(
      bed,
      Array.from({ length: 10_000 }, (_, n) => newJob(bed.core, kind, {}, { priority: n % 10 })),
    )
  }
  await bed.pool.query(
    `update millrace.job set state = 'executing', token = id, process_id = id
     where id in (select id from millrace.job where queue = 'mail' limit 7)`,
  )
  await bed.pool.query('vacuum analyze millrace.job')
  const client = await bed.pool.connect()
  try {
    await client.query('begin')
    const read = async (): Promise<number> => {
      const { rows } = await client.query<{ n: string }>(
        `select (pg_stat_get_xact_tuples_returned('millrace.job'::regclass)
           + (select sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_index
              where indrelid = 'millrace.job'::regclass))::text as n`,
      )
      return Number(rows[0]?.n)
    }
    const before = await read()
    const figures = await queueFigures(client, [...queues, 'empty'])
    const entries = (await read()) - before
    assert.deepEqual(
      figures.map(({ queue, executing, firstDueAgeMs }) => [
        queue,
        executing,
        firstDueAgeMs !== null,
      ]),
      [
        ['empty', 0, false],
        ['mail', 7, true],
        ['reports', 0, true],
        ['search', 0, true],
      ],
    )
    // Ten priorities of three queues, and what is executing; an entry more where a count looks twice.
    assert.ok(entries <= 100, `${entries} entries were read`)
  } finally {
    await client.query('rollback')
    client.release()
  }
})
