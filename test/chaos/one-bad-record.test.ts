import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application } from '../../src/consumer/application.ts'
import type { HandlerDefinition } from '../../src/consumer/handler.ts'
import { seededRandom } from '../../src/core/random.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import type { EventOf } from '../../src/events/definition.ts'
import { event } from '../../src/events/event.ts'
import { cleanup } from '../support/cleanup.ts'
import { testDatabase } from '../support/database.ts'
import { running } from '../support/millrace.ts'
import { postgresProxy } from '../support/proxy.ts'
import { eventually } from '../support/wait.ts'
import { ChaosRun, seedOf } from './chaos-run.ts'

const SIZE = 500
const MAX_ATTEMPTS = 2
/** The bound for finding one record by halving: 17. */
const HALVING = Math.floor(2 * Math.log2(SIZE))

const measured = event('MEASURED', {
  source: 'CHAOS',
  topic: 'measurements',
  schema: z.object({ n: z.int(), bad: z.boolean() }),
  key: ({ n }) => String(n % 7),
})
type Measured = EventOf<typeof measured>

const plain = inTransaction<Measured>(async ({ data: { n, bad } }, { tx }) => {
  if (bad) throw permanent('this record is hopeless')
  await tx.query('insert into measurement (n) values ($1)', [n])
})
/** The deferred trigger of the table finds the bad one, after all of them. */
const deferred = inTransaction<Measured>(async ({ data: { n, bad } }, { tx }) => {
  await tx.query('insert into measurement (n, bad) values ($1, $2)', [n, bad])
})
/** One statement for all of them: nobody can say whose error it was. */
const setWise: HandlerDefinition<Measured> = {
  defaultName: 'set-wise',
  bind: () => ({
    disposition: 'done',
    applyBatch: async (records, tx) => {
      const numbers = records.map(({ event: { data } }) => (data.bad ? '99999999999' : data.n))
      await tx.query('insert into measurement (n) select unnest($1::text[])::integer', [numbers])
    },
  }),
}

test('sets aside the one record of a batch that is not JSON, in the batch itself', async (t) => {
  await oneBad(t, { handler: plain, raw: '{"n": ', stage: 'decode', further: 0 })
})

test('sets aside the one record of a batch that has the wrong shape, in the batch itself', async (t) => {
  await oneBad(t, { handler: plain, raw: '{"n": "one"}', stage: 'validate', further: 0 })
})

test('sets aside the one record whose handler fails for good, in two further executions', async (t) => {
  await oneBad(t, { handler: plain, stage: 'apply', further: 2 })
})

test('finds the one record that a set-wise statement cannot store, by halving', async (t) => {
  await oneBad(t, { handler: setWise, stage: 'apply', further: HALVING })
})

test('finds the one record that breaks a deferred constraint, by halving', async (t) => {
  await oneBad(t, { handler: deferred, stage: 'apply', further: HALVING })
})

test('makes the jobs of the other 499 records, and a dead letter of the one that is broken', async (t) => {
  const run = await ChaosRun.begin(t, {
    name: 'one bad record of 500',
    database: await testDatabase(t),
    partitions: 1,
    workers: {
      batchRecords: SIZE,
      concurrency: 16,
      transactionTimeoutMs: 30_000,
      takeOverMs: 120_000,
      heartbeatMs: 2_000,
    },
  })
  const bad = Math.floor(seededRandom(run.seed).next() * SIZE)
  const at = Date.now()
  await run.producer.produce(SIZE, {
    perTransaction: SIZE,
    behaviour: (n) => (n === bad ? 'broken' : 'plain'),
  })
  run.worker()
  await run.quiet(120_000)
  const { rows } = await run.pool.query<{ offset: string; stage: string }>(
    'select "offset"::text as "offset", stage from millrace.dead_letter',
  )
  run.fault('broken', `record ${bad}`, at, {
    seen: rows.some(({ offset, stage }) => offset === String(bad) && stage === 'decode'),
    text: `dead letters: ${JSON.stringify(rows)}`,
  })
  const { batches, jobs } = await run.pass()
  assert.deepEqual(
    batches.map(({ records, deadLettered }) => ({ records, deadLettered })),
    [{ records: SIZE, deadLettered: 1 }],
  )
  assert.equal(jobs.length, 2 * (SIZE - 1))
})

interface BadRecord {
  readonly handler: HandlerDefinition<Measured>
  /** Its bytes. Default: what the event with `bad` has. */
  readonly raw?: string
  readonly stage: string
  /** Executions of the transaction beside the first, at most. */
  readonly further: number
}

async function oneBad(t: TestContext, { handler, raw, stage, further }: BadRecord): Promise<void> {
  const random = seededRandom(seedOf(t))
  const bad = Math.floor(random.next() * SIZE)
  const { url, pool } = await testDatabase(t)
  await pool.query(`
    create table measurement (n integer primary key, bad boolean not null default false);
    create function refuse() returns trigger language plpgsql as
      $$ begin raise check_violation using message = 'this row is bad'; end $$;
    create constraint trigger refuse_bad after insert on measurement deferrable initially deferred
      for each row when (new.bad) execute function refuse();`)
  const proxy = await postgresProxy(url)
  cleanup(t, async () => proxy[Symbol.asyncDispose]())
  const quiet = { queues: false, upkeep: false, migrate: false, takeOverMs: 180_000 } as const
  const producer = await running(t, {
    ...quiet,
    database: url,
    topics: { measurements: { partitions: 1 } },
  })
  await producer.transaction(async (tx) => {
    for (let n = 0; n < SIZE; n += 1) {
      if (n === bad && raw !== undefined) {
        const headers = Object.entries({
          ce_specversion: '1.0',
          ce_id: 'bad',
          ce_type: measured.type,
          ce_source: 'CHAOS',
        }).map(([name, value]) => [name, Buffer.from(value)] as const)
        const record = { topic: 'measurements', key: null, value: Buffer.from(raw), headers }
        await producer.log.append([record], { tx })
      } else {
        await tx.publish(measured, { n, bad: n === bad })
      }
    }
  })

  await running(t, {
    ...quiet,
    database: proxy.through(url),
    run: [
      application('measuring', {
        batchRecords: SIZE,
        maxAttempts: MAX_ATTEMPTS,
        // A batch that is out of time is halved, which would be more executions than the record's.
        transactionTimeoutMs: 60_000,
      }).on(measured, handler, { name: 'measure' }),
    ],
  })
  await eventually(async () => {
    const { rows } = await pool.query<{ next: string }>(
      'select next_offset::text as next from millrace.position',
    )
    return rows[0]?.next === String(SIZE)
  })
  const executions = proxy.count('millrace:begin') - proxy.count('millrace:position-acquire')
  t.diagnostic(`${executions} executions, the bad record at ${bad}`)

  const { rows: stored } = await pool.query<{ n: number }>('select n from measurement order by n')
  assert.deepEqual(
    stored.map(({ n }) => n),
    Array.from({ length: SIZE }, (_, n) => n).filter((n) => n !== bad),
  )
  const { rows: letters } = await pool.query<{ offset: string; stage: string }>(
    'select "offset"::text as "offset", stage from millrace.dead_letter',
  )
  assert.deepEqual(letters, [{ offset: String(bad), stage }])
  const { rows: batches } = await pool.query(
    `select sum(records)::int as records, sum(done)::int as done, sum(dead_lettered)::int as dead from millrace.batch`,
  )
  assert.deepEqual(batches, [{ records: SIZE, done: SIZE - 1, dead: 1 }])
  assert.ok(executions <= 1 + further, `${executions} executions, at most ${1 + further} allowed`)
}
