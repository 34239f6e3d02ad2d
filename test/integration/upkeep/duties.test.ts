import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { addCounts, METRICS } from '../../../src/counts/counts.ts'
import { insertJobsNow, PLACES_PER_DRAW } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import type { Duty, DutyParts } from '../../../src/upkeep/duty.ts'
import { fold } from '../../../src/upkeep/fold.ts'
import { takeLease } from '../../../src/upkeep/lease.ts'
import { ensureDays, prune } from '../../../src/upkeep/prune.ts'
import { stage } from '../../../src/upkeep/stage.ts'
import { jobsBed, type JobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const plain = job('plain', { args: z.object({}), handle() {} })

function run(duty: Duty, bed: JobsBed): Promise<number | void> {
  const parts: DutyParts = {
    core: bed.core,
    pool: bed.pool,
    waker: bed.waker,
    hooks: {},
    historyDays: 7,
  }
  return duty.run(parts, new AbortController().signal)
}

test('due jobs are staged with a new place, others wait, and the next due time is told', async (t) => {
  const bed = await jobsBed(t)
  const due = newJob(bed.core, plain, {}, { scheduleIn: '5ms' })
  const later = newJob(bed.core, plain, {}, { scheduleIn: '1h' })
  await insertJobsNow(bed, [due, later])
  assert.equal((await bed.get(due.id)).state, 'scheduled')
  const waits: number[] = []
  await eventually(async () => {
    waits.push(Number(await run(stage, bed)))
    return (await bed.get(due.id)).state === 'available'
  })
  assert.ok(waits.every((ms) => ms >= 1 && ms <= 1_000))
  assert.equal((await bed.get(later.id)).state, 'scheduled')
  const { rows } = await bed.pool.query('select place from millrace.job where id = $1', [due.id])
  assert.equal(Number(rows[0].place), 1 + PLACES_PER_DRAW)
})

test('more due jobs than fit a batch are staged in one turn', async (t) => {
  const bed = await jobsBed(t)
  await insertJobsNow(
    bed,
    Array.from({ length: 2_500 }, () => newJob(bed.core, plain, {}, { scheduleIn: '1h' })),
  )
  await bed.pool.query('update millrace.job set scheduled_at = clock_timestamp()')
  await run(stage, bed)
  const { rows } = await bed.pool.query(
    'select state, count(*)::int as n from millrace.job group by 1',
  )
  assert.deepEqual(rows, [{ state: 'available', n: 2_500 }])
})

test('the due scan is bounded by its index', async (t) => {
  const bed = await jobsBed(t)
  await insertJobsNow(
    bed,
    Array.from({ length: 5_000 }, () => newJob(bed.core, plain, {}, { scheduleIn: '1h' })),
  )
  await bed.pool.query('vacuum analyze millrace.job')
  const { rows } = await bed.pool.query<{ 'QUERY PLAN': string }>(
    `explain (costs off) select ctid from millrace.job
     where state in ('scheduled', 'retryable') and scheduled_at <= (select clock_timestamp())
     order by scheduled_at limit 10 for update skip locked`,
  )
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
  assert.match(plan, /Index Scan using job_due[^]*Index Cond: \(scheduled_at <=/)
})

test('one process leads; another takes over when the lease has run out or its holder is dead', async (t) => {
  const bed = await jobsBed(t)
  const [a, b, c] = [bed.core.ids.uuid(), bed.core.ids.uuid(), bed.core.ids.uuid()]
  for (const id of [a, b, c]) {
    await bed.pool.query(
      `insert into millrace.process (id, name, expires_at) values ($1, 'p', clock_timestamp() + interval '1 minute')`,
      [id],
    )
  }
  assert.deepEqual(await takeLease(bed.pool, a, 60_000), { term: 1 })
  assert.equal(await takeLease(bed.pool, b, 60_000), undefined)
  assert.deepEqual(await takeLease(bed.pool, a, 60_000), { term: 1 })
  await bed.pool.query('delete from millrace.process where id = $1', [a])
  assert.deepEqual(await takeLease(bed.pool, b, 60_000), { term: 2 })
  await bed.pool.query('update millrace.lease set expires_at = clock_timestamp()')
  assert.deepEqual(await takeLease(bed.pool, c, 60_000), { term: 3 })
})

test('a leader that stops gives the lease back, and the other process takes the duties over', async (t) => {
  const bed = await jobsBed(t)
  const first = await bed.keepUp()
  await eventually(() => first.leads)
  const second = await bed.keepUp({ leaseMs: 600 })
  assert.equal(second.leads, false)
  await first.stop()
  await eventually(() => second.leads)
  const due = newJob(bed.core, plain, {}, { scheduleIn: '1ms' })
  await insertJobsNow(bed, [due])
  await bed.untilState(due.id, 'available')
})

test('days that are over are dropped, the others and the days to come are there', async (t) => {
  const bed = await jobsBed(t)
  for (const parent of ['job_history', 'job_attempt']) {
    for (const days of [30, 8, 7]) {
      await bed.pool.query(
        `do $$ declare d date := (clock_timestamp() at time zone 'UTC')::date - ${days};
         begin execute format('create table millrace.%I partition of millrace.${parent} for values from (%L) to (%L)',
           '${parent}_' || to_char(d, 'YYYYMMDD'), d::timestamp at time zone 'UTC', (d + 1)::timestamp at time zone 'UTC'); end $$`,
      )
    }
  }
  await run(ensureDays, bed)
  await run(prune, bed)
  const { rows } = await bed.pool.query(
    `select i.inhparent::regclass::text as parent,
       array_agg(to_date(right(c.relname, 8), 'YYYYMMDD') - (clock_timestamp() at time zone 'UTC')::date
         order by c.relname) as days
     from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where c.relkind = 'r' and i.inhparent in ('millrace.job_attempt'::regclass, 'millrace.job_history'::regclass)
     group by 1 order by 1`,
  )
  assert.deepEqual(rows, [
    { parent: 'millrace.job_attempt', days: [-7, 0, 1, 2, 3] },
    { parent: 'millrace.job_history', days: [-7, 0, 1, 2, 3] },
  ])
})

test('old batches and processes long dead are deleted, unless somebody still refers to them', async (t) => {
  const bed = await jobsBed(t)
  const [gone, holder, owner, fresh] = Array.from({ length: 4 }, () => bed.core.ids.uuid())
  for (const [id, ago] of [
    [gone, 2],
    [holder, 2],
    [owner, 2],
    [fresh, 0],
  ] as const) {
    await bed.pool.query(
      `insert into millrace.process (id, name, expires_at)
       values ($1, 'p', clock_timestamp() - $2 * interval '1 hour')`,
      [id, ago],
    )
  }
  await insertJobsNow(bed, [newJob(bed.core, plain, {})])
  await bed.pool.query(
    `update millrace.job set state = 'executing', token = gen_random_uuid(), process_id = $1`,
    [holder],
  )
  await bed.pool.query(
    `insert into millrace.position (application, topic_id, partition, topic, owner, next_offset)
     values ('a', gen_random_uuid(), 0, 't', $1, 0)`,
    [owner],
  )
  await bed.pool.query(
    `insert into millrace.batch (application, topic_id, partition, generation, first_offset, next_offset, epoch, owner,
       records, done, jobs, filtered, dead_lettered, filtered_by, committed_at)
     select 'a', gen_random_uuid(), 0, 0, n, n + 1, 1, gen_random_uuid(), 1, 1, 0, 0, 0, '{}',
       clock_timestamp() - n * interval '1 day' from generate_series(1, 10) n`,
  )
  await run(prune, bed)
  const processes = await bed.pool.query('select id from millrace.process order by id')
  assert.deepEqual(
    processes.rows.map(({ id }) => id),
    [holder, owner, fresh].toSorted(),
  )
  const batches = await bed.pool.query('select count(*)::int as n from millrace.batch')
  assert.equal(batches.rows[0].n, 6)
})

test('events whose time is over are forgotten, however many, and others are not', async (t) => {
  const bed = await jobsBed(t)
  await bed.pool.query(
    `insert into millrace.seen_event (key, topic_id, "offset", expires_at, partition)
     select gen_random_uuid(), gen_random_uuid(), n, clock_timestamp() + (n - 12000) * interval '1 minute', 0
     from generate_series(0, 12009) n`,
  )
  // One of them is just being taken over by a batch: it is not waited for.
  const client = await bed.pool.connect()
  await client.query('begin')
  await client.query('select from millrace.seen_event where "offset" = 5000 for update')
  await run(prune, bed)
  await client.query('rollback')
  client.release()
  const left = async (): Promise<number[]> =>
    (
      await bed.pool.query<{ at: number }>(
        'select "offset"::int as at from millrace.seen_event order by 1',
      )
    ).rows.map(({ at }) => at)
  const young = Array.from({ length: 9 }, (_, n) => 12_001 + n)
  assert.deepEqual(await left(), [5_000, ...young])
  await run(prune, bed)
  assert.deepEqual(await left(), young)
})

test('counts are folded into one row each, without changing their sum', async (t) => {
  const bed = await jobsBed(t)
  for (const delta of [3, 4, -2]) {
    await addCounts(bed.pool, [{ metric: METRICS.backlog, label: 'a', delta }])
  }
  await run(fold, bed)
  const { rows } = await bed.pool.query('select metric, label, value from millrace.count')
  assert.deepEqual(rows, [{ metric: 'backlog', label: 'a', value: '5' }])
  assert.equal((await bed.pool.query('select from millrace.count_delta')).rowCount, 0)
})

test('more changes of counts than fit a batch are folded in one turn', async (t) => {
  const bed = await jobsBed(t)
  await bed.pool.query(
    `insert into millrace.count_delta (metric, label, delta)
     select 'backlog', 'a', 1 from generate_series(1, 120000)`,
  )
  await run(fold, bed)
  const { rows } = await bed.pool.query('select value from millrace.count')
  assert.deepEqual(rows, [{ value: '120000' }])
  assert.equal((await bed.pool.query('select from millrace.count_delta')).rowCount, 0)
})
