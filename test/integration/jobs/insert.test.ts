import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { readCounts } from '../../../src/counts/counts.ts'
import {
  commonPrefix,
  insertJobs,
  insertJobsNow,
  PLACES_PER_DRAW,
} from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { decodeMeta, type JobMeta } from '../../../src/jobs/meta.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import { createPool } from '../../../src/postgres/connect.ts'
import type { QueryResult, Queryable, Row } from '../../../src/postgres/queryable.ts'
import { cleanup } from '../../support/cleanup.ts'
import { jobsBed } from '../../support/jobs.ts'
import { postgresProxy } from '../../support/proxy.ts'
import { eventually } from '../../support/wait.ts'

const any = job('any', { args: z.object({ text: z.string() }), handle() {} })
const urgent = job('urgent', {
  args: z.object({ text: z.string() }),
  queue: 'first',
  priority: 0,
  maxAttempts: 3,
  maxCrashes: 7,
  handle() {},
})
const origin = {
  application: 'search',
  handler: 'index',
  topic: 'orders',
  topicId: '0190c2f0-0000-7000-8000-000000000001',
  partition: 3,
  offset: 12_345_678_901_234_567_890n,
  generation: 1,
  index: 0,
}

test('jobs of all sorts are inserted in one statement, each with its own values', async (t) => {
  const bed = await jobsBed(t)
  const at = new Date('2100-01-01T00:00:00Z')
  const texts = ['plain', '"quoted" \\ back', 'line\nbreak\u2028', 'nul \u0000', '{,}', '']
  const jobs = [
    ...texts.map((text) => newJob(bed.core, any, { text })),
    newJob(bed.core, urgent, { text: 'u' }, { meta: { origin, correlationId: 'c' } }),
    newJob(
      bed.core,
      any,
      { text: 'at' },
      { scheduledAt: at, priority: 9, queue: 'q', maxAttempts: 1 },
    ),
    newJob(bed.core, any, { text: 'in' }, { scheduleIn: '1h' }),
    newJob(bed.core, any, { text: 'past' }, { scheduledAt: new Date(0) }),
  ]
  const statements: string[] = []
  const db: Queryable = {
    query<R extends Row>(text: string, values?: readonly unknown[]): Promise<QueryResult<R>> {
      statements.push(text)
      return bed.pool.query(text, values as unknown[]) as unknown as Promise<QueryResult<R>>
    },
  }
  const { ids, wakes } = await insertJobs(db, jobs)
  assert.equal(statements.length, 1)
  assert.deepEqual(
    ids,
    jobs.map(({ id }) => id),
  )
  // Due ones only, and a place that none of theirs is below.
  assert.deepEqual(
    wakes.toSorted((a, b) => a.queue.localeCompare(b.queue)),
    [
      { queue: 'default', place: 1 },
      { queue: 'first', place: 1 },
    ],
  )
  const { rows } = await bed.pool.query(
    `select args::text as args, kind, queue, priority, max_attempts, max_crashes, state, application, meta::json as meta,
       scheduled_at - created_at as wait, scheduled_at, place
     from millrace.job order by place`,
  )
  assert.deepEqual(
    rows.slice(0, texts.length).map(({ args }) => JSON.parse(args).text),
    texts,
  )
  const [first, atTime, inTime, past] = rows.slice(texts.length)
  assert.deepEqual(
    [first.kind, first.queue, first.priority, first.max_attempts, first.max_crashes, first.state],
    ['urgent', 'first', 0, 3, 7, 'available'],
  )
  assert.deepEqual(
    [first.application, first.meta.origin.offset, first.meta.correlationId],
    ['search', '12345678901234567890', 'c'],
  )
  assert.deepEqual(
    [atTime.queue, atTime.priority, atTime.max_attempts, atTime.state, atTime.scheduled_at],
    ['q', 9, 1, 'scheduled', at],
  )
  assert.deepEqual([inTime.state, inTime.wait.hours], ['scheduled', 1])
  assert.equal(past.state, 'available')
  assert.deepEqual(
    (await readCounts(bed.pool)).map(({ metric, label, value }) => [metric, label, value]),
    [
      ['backlog', 'search', 1],
      ['jobs.inserted', 'default', 8],
      ['jobs.inserted', 'first', 1],
      ['jobs.inserted', 'q', 1],
      ['jobs.unfinished', 'default', 8],
      ['jobs.unfinished', 'first', 1],
      ['jobs.unfinished', 'q', 1],
    ],
  )
})

test('jobs of one insert stand in line as they were given, whatever their number, and share no place with others', async (t) => {
  const bed = await jobsBed(t)
  const many = (count: number) =>
    Array.from({ length: count }, () => newJob(bed.core, any, { text: 'x' }))
  // Just what one draw gives, one more, several draws, and others between them.
  const batches = [PLACES_PER_DRAW, PLACES_PER_DRAW + 1, 1, 3 * PLACES_PER_DRAW, 5].map(many)
  const inserted = await Promise.all(batches.map((jobs) => insertJobs(bed.pool, jobs)))

  const { rows } = await bed.pool.query<{ id: string; place: string }>(
    'select id, place from millrace.job',
  )
  const places = new Map(rows.map(({ id, place }) => [id, Number(place)]))
  assert.equal(places.size, batches.flat().length)
  assert.equal(new Set(places.values()).size, places.size)
  for (const [at, jobs] of batches.entries()) {
    const line = jobs.map(({ id }) => places.get(id) as number)
    assert.deepEqual(
      line,
      line.toSorted((a, b) => a - b),
    )
    assert.deepEqual(inserted[at]?.wakes, [{ queue: 'default', place: line[0] }])
  }
  const { rows: next } = await bed.pool.query<{ place: string }>(
    "select nextval('millrace.job_place') as place",
  )
  assert.ok(Number(next[0]?.place) > Math.max(...places.values()))
})

test('jobs that share everything but their args are inserted with what they share passed once', async (t) => {
  const bed = await jobsBed(t)
  const jobs = Array.from({ length: 3_000 }, (_, n) => newJob(bed.core, any, { text: `t${n}` }))
  await insertJobsNow(bed, jobs)
  const { rows } = await bed.pool.query(
    `select count(*)::int as n, count(distinct id)::int as ids, min(queue) as queue, max(args->>'text') as last
     from millrace.job`,
  )
  assert.deepEqual(rows, [{ n: 3_000, ids: 3_000, queue: 'default', last: 't999' }])
})

test('an insert whose reply is lost is found out about: it is there once, or it is said that it is not', async (t) => {
  const bed = await jobsBed(t)
  const proxy = await postgresProxy(bed.url)
  cleanup(t, async () => proxy[Symbol.asyncDispose]())
  const pool = createPool(proxy.through(bed.url))
  pool.on('error', () => {})
  cleanup(t, async () => pool.end())
  const jobs = (text: string) => Array.from({ length: 3 }, () => newJob(bed.core, any, { text }))

  const reply = proxy.cutStatement('reply', 'millrace:job-insert')
  const there = jobs('there')
  assert.deepEqual(
    await insertJobsNow({ ...bed, pool }, there),
    there.map(({ id }) => id),
  )
  await reply

  const request = proxy.cutStatement('request', 'millrace:job-insert')
  await assert.rejects(insertJobsNow({ ...bed, pool }, jobs('not there')), {
    code: 'E_DB_CONNECT',
    retryable: true,
  })
  await request

  const { rows } = await bed.pool.query(
    `select args->>'text' as text, count(*)::int as n from millrace.job group by 1`,
  )
  assert.deepEqual(rows, [{ text: 'there', n: 3 }])
})

test('what jobs carry arrives as it is, however much of it they share', async (t) => {
  const bed = await jobsBed(t)
  const metas: JobMeta[] = [
    { origin, correlationId: 'a😀', causationId: '"\\\n' },
    { origin: { ...origin, offset: 5n }, correlationId: 'a😁' },
    { correlationId: '' },
  ]
  for (const some of [metas, metas.slice(0, 2), [metas[1], metas[1]], [metas[0]], [metas[0], {}]]) {
    const jobs = some.map((meta) => newJob(bed.core, any, { text: 't' }, { meta: meta ?? {} }))
    await insertJobsNow(bed, jobs)
    for (const [index, { id }] of jobs.entries()) {
      const { rows } = await bed.pool.query<{ meta: string | null }>(
        'select meta from millrace.job where id = $1',
        [id],
      )
      assert.deepEqual(decodeMeta(rows[0]?.meta ?? null), some[index] ?? {})
    }
  }
})

test('texts that share a half of a pair share no more than what is before it', () => {
  assert.equal(commonPrefix(['a😀', 'a😁']), 1)
  assert.equal(commonPrefix(['ab', 'ab']), 2)
  assert.equal(commonPrefix(['', 'ab']), 0)
})

test('nothing is done when there is nothing to insert', async (t) => {
  const bed = await jobsBed(t)
  assert.deepEqual(await insertJobs(bed.pool, []), { ids: [], wakes: [] })
  assert.deepEqual(await insertJobsNow(bed, []), [])
})

test('jobs go with the transaction of the caller', async (t) => {
  const bed = await jobsBed(t)
  const client = await bed.pool.connect()
  try {
    await client.query('begin')
    await insertJobs(client, [newJob(bed.core, any, { text: 'gone' })])
    await client.query('rollback')
    await client.query('begin')
    await insertJobs(client, [newJob(bed.core, any, { text: 'kept' })])
    await client.query('commit')
  } finally {
    client.release()
  }
  const { rows } = await bed.pool.query(`select args->>'text' as text from millrace.job`)
  assert.deepEqual(rows, [{ text: 'kept' }])
})

test('an insert is woken for: the job starts long before the next poll', async (t) => {
  const bed = await jobsBed(t)
  const { listener } = await bed.work([any], { limits: { pollMs: 60_000 } })
  await eventually(() => listener.listening)
  const id = await bed.insert(any, { text: 'now' })
  await bed.untilState(id, 'completed')
})

test('a job that a caller inserts with its own connection is polled for', async (t) => {
  const bed = await jobsBed(t)
  await bed.work([any])
  const made = newJob(bed.core, any, { text: 'own' })
  await insertJobs(bed.pool, [made])
  await bed.untilState(made.id, 'completed')
})
