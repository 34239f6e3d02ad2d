import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import { start } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { insertJobsNow } from '../../../src/jobs/insert.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import type { Queryable, Row } from '../../../src/postgres/queryable.ts'
import { trace, type Timeline } from '../../../src/trace/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { jobsBed } from '../../support/jobs.ts'
import { running, settled } from '../../support/millrace.ts'
import { spawnNode } from '../../support/process.ts'
import { touchy } from '../upkeep/touchy.ts'

const scenario = new URL('../upkeep/crash-scenario.ts', import.meta.url)

/** A database that counts what it is asked and what it gives. */
function counting(db: Queryable): Queryable & { statements: number; rows: number } {
  const counter = {
    statements: 0,
    rows: 0,
    async query<R extends Row>(text: string, values?: readonly unknown[]) {
      const result = await db.query<R>(text, values)
      counter.statements += 1
      counter.rows += result.rows.length
      return result
    },
  }
  return counter
}

const mail = job('mail', { args: z.object({ n: z.int() }), handle: () => {} })
const sent = event('newsletter.sent', {
  topic: 'letters',
  source: 'marketing',
  schema: z.object({}),
  key: () => null,
})

test('an event that led to 10,000 jobs opens with a few statements, and shows a few of them', async (t) => {
  const { url } = await testDatabase(t)
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const { core, pool, waker } = operator
  const millrace = await start({
    database: url,
    topics: { letters: { partitions: 1 } },
    queues: false,
  })
  cleanup(t, () => millrace.stop())
  const id = await millrace.publish(sent, {})
  const meta = { correlationId: id, causationId: id }
  const jobs = Array.from({ length: 10_000 }, (_, n) => newJob(core, mail, { n }, { meta }))
  for (let at = 0; at < jobs.length; at += 1_000) {
    await insertJobsNow({ core, pool, waker }, jobs.slice(at, at + 1_000))
  }
  // All but three are finished, as a worker would have left them.
  await pool.query(
    `with done as (delete from millrace.job where id <> all (array(select id from millrace.job order by id desc limit 3)) returning *)
     insert into millrace.job_history (id, kind, queue, priority, state, attempt, max_attempts, crashes, max_crashes, application,
       scheduled_at, created_at, attempted_at, finished_at, args, meta)
     select id, kind, queue, priority, 'completed', 1, max_attempts, crashes, max_crashes, application,
       scheduled_at, created_at, clock_timestamp(), clock_timestamp(), args, meta from done`,
  )
  const db = counting(pool)
  const parts = { core, pool: db, log: () => operator.log() }
  const timeline = await trace(parts, id)
  assert.deepEqual(
    timeline.nodes.map(({ type, state, count, states }) => [type, count ?? state, states]),
    [
      ['event', 'in the log', undefined],
      ['job', 'completed', undefined],
      ['job', 'completed', undefined],
      ['job', 'available', undefined],
      ['job', 'available', undefined],
      ['job', 'available', undefined],
      ['more', 9_995, { completed: 9_995 }],
    ],
  )
  assert.equal(timeline.branches.total, 10_000)
  assert.equal(
    timeline.headline,
    "9997 of 10000 branches done; 'mail' waits in queue 'default' (3 times)",
  )
  assert.ok(db.statements <= 20, `${db.statements} statements`)
  assert.ok(db.rows <= 10_050, `${db.rows} rows`)
  assert.deepEqual(timeline.notes, [])
})

test('what began with one id is looked at up to a bound, which is told', async (t) => {
  const { url, pool } = await testDatabase(t)
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const id = operator.core.ids.uuid()
  await pool.query(
    `insert into millrace.job_history (id, kind, queue, priority, state, attempt, max_attempts, crashes, max_crashes,
       scheduled_at, created_at, finished_at, args, meta)
     select gen_random_uuid(), 'mail', 'default', 0, 'completed', 1, 1, 0, 1, now(), now(), now(), '{}',
       json_build_object('x', 1, 'correlationId', $1::text)::text || ''
     from generate_series(1, 25000)`,
    [id],
  )
  await pool.query(
    `update millrace.job_history set meta = replace(meta, '"correlationId" : ', '"correlationId":')`,
  )
  const timeline = await trace(operator, id)
  assert.equal(timeline.branches.total, 20_000)
  assert.deepEqual(timeline.notes, [
    'there are more than 20000 jobs; the rest of them were not looked at',
  ])
})

test('dead letters of one record are looked at up to a bound, which is told', async (t) => {
  const { url, pool } = await testDatabase(t)
  const failing = application('failing', { floodBrake: false }).on(
    sent,
    inTransaction(() => {
      throw permanent('no')
    }),
  )
  const millrace = await running(t, { database: url, run: [failing] })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const id = await millrace.publish(sent, {})
  await settled(millrace)
  await pool.query(`update millrace.dead_letter set state = 'replayed', closed_at = now()`)
  const again = async (letters: number): Promise<Timeline> => {
    await pool.query(
      `insert into millrace.dead_letter (application, handler, stage, topic, topic_id, partition, "offset", generation, error, attempts, state)
       select application, handler, stage, topic, topic_id, partition, "offset", (select max(generation) from millrace.dead_letter) + n,
         error, 1, case when n = $1 then 'open' else 'replayed' end
       from millrace.dead_letter d, generate_series(1, $1) n where d.id = 1`,
      [letters],
    )
    return trace(operator, id)
  }
  const some = await again(1_500)
  assert.equal(some.branches.failed, 1)
  assert.deepEqual(some.notes, [
    'more than 1000 dead letters of what is shown; the rest of them are only counted',
  ])
  await pool.query(`update millrace.dead_letter set state = 'replayed'`)
  const many = await again(20_000)
  // The open one is the last of them, and is seen all the same.
  assert.equal(many.branches.failed, 1)
  assert.ok(
    many.notes.includes(
      'there are more than 20000 dead letters of these records; the rest of them were not looked at',
    ),
  )
})

test('finished jobs and records are found by indexes when there are many', async (t) => {
  const { url, pool } = await testDatabase(t)
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  await pool.query(
    `insert into millrace.job_history (id, kind, queue, priority, state, attempt, max_attempts, crashes, max_crashes,
       scheduled_at, created_at, finished_at, args, meta)
     select gen_random_uuid(), 'k', 'q', 0, 'completed', 1, 1, 0, 1, now(), now(), now(), '{}',
       '{"correlationId":"' || gen_random_uuid() || '"}' from generate_series(1, 20000)`,
  )
  await pool.query(
    `insert into millrace.record (topic_id, partition, "offset", "timestamp")
     select gen_random_uuid(), 0, n, now() - interval '200000 seconds' + n * interval '1 second'
     from generate_series(1, 200000) n`,
  )
  await pool.query('analyze millrace.job_history; analyze millrace.record')
  await pool.query('vacuum millrace.record')
  const plans = new Map<string, string>()
  const explaining: Queryable = {
    async query<R extends Row>(text: string, values?: readonly unknown[]) {
      const name = /millrace:(\S+)/.exec(text)?.[1] ?? text
      const { rows } = await pool.query<{ 'QUERY PLAN': string }>(`explain ${text}`, [
        ...(values ?? []),
      ])
      plans.set(name, rows.map((row) => row['QUERY PLAN']).join('\n'))
      return (pool as Queryable).query<R>(text, values)
    },
  }
  const parts = { core: operator.core, pool: explaining, log: () => operator.log() }
  await assert.rejects(trace(parts, operator.core.ids.uuid()), { code: 'E_TRACE_NOT_FOUND' })
  assert.match(plans.get('trace-jobs') ?? '', /Index Scan.* on job_history_\d+/)
  assert.match(plans.get('trace-records') ?? '', /Bitmap Index Scan on record_time/)
})

test('a job whose process was killed shows the lost attempt, and whose it was', async (t) => {
  const bed = await jobsBed(t)
  await bed.keepUp()
  const victim = spawnNode(t, scenario, { args: [bed.url] })
  const { processId } = await victim.waitFor('ready')
  const id = await bed.insert(touchy, { does: 'hang' })
  await victim.waitFor('started')
  victim.kill('SIGKILL')
  await bed.untilState(id, 'available')
  const operator = await connectOperator({ database: bed.pool })
  cleanup(t, () => operator.close())
  const timeline = await trace(operator, id)
  const [node] = timeline.nodes
  assert.deepEqual(
    node?.runs.map(({ attempt, outcome, processId: by }) => [attempt, outcome, by]),
    [[1, 'lost', processId]],
  )
  assert.equal(
    node.waits.at(-1)?.reason,
    "in queue 'default', to be run alone since its process died",
  )
  assert.equal(timeline.finishedAt, null)
})
