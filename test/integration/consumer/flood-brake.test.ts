import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application, type Application } from '../../../src/consumer/application.ts'
import type { HandlerDefinition } from '../../../src/consumer/handler.ts'
import {
  listConsumers,
  listGaps,
  pauseConsumers,
  planResolve,
  resumeConsumers,
} from '../../../src/consumer/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import type { EventOf } from '../../../src/events/definition.ts'
import { job } from '../../../src/jobs/job.ts'
import {
  flooded,
  newCode,
  newOrders,
  oldCode,
  ordered1,
  ordered2,
  orders,
  store,
} from '../../support/flooded.ts'
import { settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const APP = { application: 'app' } as const
const ALARM =
  'most of the next records fail alike: this partition is stopped before the first of them becomes a dead letter'

type Ordered = EventOf<typeof ordered1>

/** The numbers of orders that were handled twice, or of one customer in another order than they were placed. */
function wrong(done: readonly { n: number; customer: string }[]): number[] {
  const last = new Map<string, number>()
  return done.flatMap(({ n, customer }) => {
    const isLater = n > (last.get(customer) ?? -1)
    last.set(customer, n)
    return isLater ? [] : [n]
  })
}

describe('a deploy that cannot read version 2', () => {
  it('is stopped in every partition before a dead letter, whoever reads it, until fixed code is resumed', async (t) => {
    const all = await flooded(t, { partitions: 6 })
    const { producer, pool } = all
    await producer.publishMany(ordered1, orders(0, 120))
    await producer.publishMany(ordered2, newOrders(120, 3120))
    const { rows: first } = await pool.query<{ at: string }>(
      `select min("offset")::text as at from millrace.record
       where (convert_from(value, 'UTF8')::json ->> 'n')::int >= 120 group by partition order by partition`,
    )
    const before = first.map(({ at }) => BigInt(at))
    const untouched = async (): Promise<void> => {
      assert.equal(await all.deadLetters(), 0)
      assert.deepEqual(await all.positions(), before)
      assert.equal((await all.done()).length, 120)
    }

    const old = await all.start(oldCode())
    const stops = await all.stopped(6)
    await untouched()
    const alarms = old.lines.filter(({ message }) => message === ALARM)
    assert.equal(alarms.length, 6)
    for (const { level, fields } of alarms) {
      const { application: app, topic, fingerprint, share, keys, error, next } = fields
      assert.deepEqual([level, app, topic], ['error', 'app', 'orders'])
      assert.equal(fingerprint, stops[0]?.flood.fingerprint)
      assert.ok((share as number) > 0.5 && (keys as number) > 1)
      assert.match((error as { message: string }).message, /version 2/)
      assert.match(String(next), /consumers resume --app app\. Or.*--accept-failures --reason/)
    }
    const seen = await listConsumers(pool, producer.log, APP)
    for (const { state, code, reason, next, partition } of seen) {
      assert.deepEqual([state, code], ['halted', 'flood'])
      assert.match(
        reason ?? '',
        /^\d+ of \d+ records over \d+ keys fail alike at decode \(\w{16}\): /,
      )
      const scope = `--app app --topic orders --partition ${partition}`
      assert.equal(next, `millrace consumers resume ${scope}`)
    }

    // Another process takes over, with the same code.
    await old.millrace.stop()
    const second = await all.start(oldCode())
    await untouched()
    assert.ok(!second.lines.some(({ message }) => message === 'reading a partition'))

    // Tried again with that code, it is stopped again.
    const { stops: resumed } = await resumeConsumers(all.operator, APP, { reason: 'fixed?' })
    assert.equal(resumed.length, 6)
    await eventually(async () => (await listGaps(pool, APP)).length === 12)
    await all.stopped(6)
    await untouched()
    await second.millrace.stop()

    await resumeConsumers(all.operator, APP, { reason: 'fixed' })
    await all.start(newCode())
    await all.caughtUp()
    const done = await all.done()
    assert.equal(done.length, 3_120)
    assert.deepEqual(wrong(done), [])
    assert.equal(await all.deadLetters(), 0)
    const { rows: actions } = await pool.query(
      'select action, operator, count::int as count, reason from millrace.operator_action order by id',
    )
    const resume = { action: 'consumers.resume', operator: 'ana@test', count: 6 }
    assert.deepEqual(actions, [
      { ...resume, reason: 'fixed?' },
      { ...resume, reason: 'fixed' },
    ])
    const { rows: generations } = await pool.query('select distinct generation from millrace.batch')
    assert.deepEqual(generations, [{ generation: 0 }])
  })

  it('fills the dead letters where the brake is off', async (t) => {
    const all = await flooded(t)
    await all.producer.publishMany(ordered2, newOrders(0, 200))
    await all.start(oldCode({ floodBrake: false }))
    await all.caughtUp()
    assert.equal(await all.deadLetters(), 200)
  })
})

describe('failures that somebody accepts', () => {
  it('become dead letters, counted and audited; others still stop the partition', async (t) => {
    const all = await flooded(t)
    const { producer, pool, operator } = all
    await producer.publishMany(ordered2, newOrders(0, 600))
    await all.start(oldCode())
    const [stop] = await all.stopped()
    const fingerprint = stop?.flood.fingerprint
    const would = await resumeConsumers(operator, APP, {
      acceptFailures: { reason: 'x' },
      dryRun: true,
    })
    assert.deepEqual([would.stops.length, would.accepted], [1, []])
    assert.equal((await all.stops()).length, 1)

    const reason = 'the feed was broken at its source'
    const { accepted } = await resumeConsumers(operator, APP, { acceptFailures: { reason } })
    assert.deepEqual(
      accepted.map((one) => [one.fingerprint, one.by, one.reason]),
      [[fingerprint, 'ana@test', reason]],
    )
    const inAnHour = Date.now() + 3_600_000
    assert.ok((accepted[0]?.expiresAt.getTime() ?? 0) > inAnHour)
    await all.caughtUp()
    assert.equal(await all.deadLetters(), 600)
    assert.equal((await producer.summary()).deadLetters, 600)
    const { rows } = await pool.query(
      `select action, operator, count::int as count, reason, detail #>> '{stops,0,fingerprint}' as fingerprint
       from millrace.operator_action`,
    )
    const action = 'consumers.accept-failures'
    assert.deepEqual(rows, [{ action, operator: 'ana@test', count: 1, reason, fingerprint }])
    const [gap] = await listGaps(pool, APP)
    assert.equal(gap?.decided?.decision, 'accept-failures')

    await producer.log.append(
      orders(0, 50).map(({ customer }) => ({
        topic: 'orders',
        key: Buffer.from(customer),
        value: Buffer.from('{"n": '),
        headers: [
          ['ce_specversion', '1.0'],
          ['ce_id', 'x'],
          ['ce_source', 'TEST'],
          ['ce_type', 'ORDERED'],
        ].map(([name, value]) => [name, Buffer.from(value as string)] as [string, Buffer]),
      })),
    )
    const [other] = await all.stopped()
    assert.notEqual(other?.flood.fingerprint, fingerprint)
    assert.deepEqual(
      [other?.flood.failed, other?.flood.records, await all.deadLetters()],
      [50, 50, 600],
    )
  })

  it('count again when their time is over', async (t) => {
    const all = await flooded(t)
    await all.producer.publishMany(ordered2, newOrders(0, 60))
    await all.start(oldCode())
    await all.stopped()
    const acceptFailures = { reason: 'x', forMs: 60_000 }
    await resumeConsumers(all.operator, APP, { acceptFailures })
    await all.caughtUp()
    await all.pool.query('update millrace.accepted_failure set expires_at = clock_timestamp()')
    await all.producer.publishMany(ordered2, newOrders(60, 120))
    await all.stopped()
    assert.equal(await all.deadLetters(), 60)
  })

  it('are none where nothing was stopped', async (t) => {
    const all = await flooded(t)
    await all.start(oldCode())
    await assert.rejects(
      resumeConsumers(all.operator, APP, { acceptFailures: { reason: 'x' } }),
      /E_CONSUMER_STATE|has stopped nothing there/,
    )
  })
})

describe('poison', () => {
  const poisons: readonly (readonly [
    what: string,
    isBad: (n: number) => boolean,
    number,
    number,
  ])[] = [
    ['one record of 500', (n) => n === 250, 40, 1],
    ['one record of 20, of all keys', (n) => n % 20 === 7, 39, 25],
    ['every record of the only key', () => true, 1, 500],
  ]
  for (const [what, isBad, customers, letters] of poisons) {
    it(`does not stop a partition: ${what}`, async (t) => {
      const all = await flooded(t)
      await all.producer.publishMany(ordered1, orders(0, 500, customers))
      await all.start(
        application('app').on(
          ordered1,
          inTransaction({
            prepare: () => undefined,
            async apply({ data: { n, customer } }, _, { tx }) {
              if (isBad(n)) throw permanent('not to be stored')
              await tx.query('insert into done (n, customer) values ($1, $2)', [n, customer])
            },
          }),
        ),
      )
      await all.caughtUp()
      assert.deepEqual(await all.stops(), [])
      assert.equal(await all.deadLetters(), letters)
      const done = await all.done()
      assert.equal(done.length, 500 - letters)
      assert.deepEqual(wrong(done), [])
    })
  }
})

const isBad = (n: number): boolean => n >= 40
const note = job('note', { args: z.object({ n: z.int().max(39) }), handle: () => {} })

const failing = {
  'fails for good in prepare': inTransaction<Ordered, undefined>({
    prepare({ data }) {
      if (isBad(data.n)) throw permanent('the catalog is empty')
    },
    async apply({ data: { n } }, _, { tx }) {
      await tx.query('insert into done (n) values ($1)', [n])
    },
  }),
  'makes jobs of args that do not fit': toJob<Ordered, { n: number }>(note, ({ data: { n } }) => ({
    n,
  })),
  'fails for good in the transaction': inTransaction<Ordered>(async ({ data: { n } }, { tx }) => {
    if (isBad(n)) throw permanent('not to be stored')
    await tx.query('insert into done (n) values ($1)', [n])
  }),
  'uses up its attempts in the transaction': inTransaction<Ordered>(
    async ({ data: { n } }, { tx }) => {
      if (isBad(n)) throw new Error(`no room for ${n}`)
      await tx.query('insert into done (n) values ($1)', [n])
    },
  ),
  'breaks a deferred constraint': inTransaction<Ordered>(async ({ data: { n } }, { tx }) => {
    await tx.query('insert into small (n) values ($1)', [n])
    await tx.query('insert into done (n) values ($1)', [n])
  }),
  'stores with one statement what cannot be stored': inTransaction<Ordered, undefined>({
    async applyBatch(records, { tx }) {
      const numbers = records.map(({ event: { data } }) => (isBad(data.n) ? 'x' : String(data.n)))
      await tx.query('insert into done (n) select unnest($1::text[])::int', [numbers])
    },
  }),
} satisfies Record<string, HandlerDefinition<Ordered>>

describe('a handler that fails for most records', () => {
  for (const [what, handler] of Object.entries(failing)) {
    it(`stops the partition before a dead letter when it ${what}`, async (t) => {
      const all = await flooded(t)
      await all.pool.query(`
        create table allowed (n int primary key);
        insert into allowed select generate_series(0, 39);
        create table small (n int references allowed deferrable initially deferred)`)
      await all.producer.publishMany(ordered1, orders(0, 100))
      const options = { maxAttempts: 2 }
      const app: Application = application('app', options).on(ordered1, handler)
      const { millrace } = await all.start(app)
      const [stop] = await all.stopped()
      assert.equal(await all.deadLetters(), 0)
      assert.deepEqual(await all.positions(), [40n])
      assert.deepEqual([stop?.position, stop?.flood.offset], [40n, '40'])
      const { rows } = await all.pool.query<{ n: number }>(
        `select count(*)::int as n from (
           select n from done union all select (args ->> 'n')::int from millrace.job
           union all select (args ->> 'n')::int from millrace.job_history) d`,
      )
      assert.equal(rows[0]?.n, 40)
      assert.ok((stop?.flood.failed ?? 0) >= 20)

      await resumeConsumers(all.operator, APP)
      await eventually(async () => (await listGaps(all.pool, APP)).length === 2)
      await all.stopped()
      assert.equal(await all.deadLetters(), 0)
      await resumeConsumers(all.operator, APP, { acceptFailures: { reason: 'really bad' } })
      await settled(millrace)
      assert.equal(await all.deadLetters(), 60)
    })
  }
})

describe('an outage that prepare meets', () => {
  it('stops the partition as soon as it is certain, and not when all attempts of the batch are spent', async (t) => {
    const all = await flooded(t)
    await all.producer.publishMany(ordered1, orders(0, 500, 500))
    const tried = new Set<number>()
    const handler = inTransaction<Ordered, undefined>({
      prepare({ data: { n } }) {
        tried.add(n)
        throw new Error(`no answer for ${n}`)
      },
      apply() {},
    })
    const options = { maxAttempts: 2, prepareConcurrency: 8 }
    await all.start(application('app', options).on(ordered1, handler))
    const [stop] = await all.stopped()
    assert.equal(stop?.flood.stage, 'prepare')
    assert.deepEqual([await all.deadLetters(), await all.positions()], [0, [0n]])
    assert.ok(tried.size < 100, `${tried.size} records were tried`)
  })
})

describe('small batches', () => {
  it('show a flood in the last records; what it was stopped for is then tried without a dead letter more', async (t) => {
    const all = await flooded(t)
    const { producer } = all
    await producer.publishMany(ordered1, orders(0, 10))
    await producer.publishMany(ordered2, newOrders(10, 110))
    const first = await all.start(oldCode({ batchRecords: 5 }))
    const [stop] = await all.stopped()
    // Three batches of five were not yet a flood.
    assert.equal(await all.deadLetters(), 15)
    assert.deepEqual([stop?.position, stop?.flood.failed, stop?.flood.records], [25n, 20, 30])
    for (let tries = 2; tries < 4; tries += 1) {
      await resumeConsumers(all.operator, APP)
      await eventually(async () => (await listGaps(all.pool, APP)).length === tries)
      const [again] = await all.stopped()
      assert.equal(again?.position, 25n)
      assert.equal(await all.deadLetters(), 15)
    }
    await first.millrace.stop()
    await resumeConsumers(all.operator, APP)
    await all.start(newCode({ batchRecords: 5 }))
    await all.caughtUp()
    assert.equal((await all.done()).length, 95)
  })

  it('go on after fixed code is resumed although one record is truly bad', async (t) => {
    const all = await flooded(t)
    await all.producer.publishMany(ordered2, newOrders(0, 60))
    const first = await all.start(oldCode())
    await all.stopped()
    await first.millrace.stop()
    await resumeConsumers(all.operator, APP)
    const fixed = inTransaction<EventOf<typeof ordered2>>(async ({ data: { n } }, { tx }) => {
      if (n === 44) throw permanent('really bad')
      await tx.query('insert into done (n) values ($1)', [n])
    })
    await all.start(application('app', { batchRecords: 7 }).on(ordered2, fixed))
    await all.caughtUp()
    assert.deepEqual([await all.deadLetters(), (await all.done()).length], [1, 59])
  })
})

describe('a partition that the flood brake has stopped', () => {
  it('is not for resolve, for its log is well; a resume takes back a pause with it', async (t) => {
    const all = await flooded(t)
    await all.producer.publishMany(ordered2, newOrders(0, 60))
    const { millrace } = await all.start(oldCode())
    await all.stopped()
    const plan = await planResolve(all.operator, APP, { decision: 'accept' })
    assert.deepEqual(plan.steps, [])
    assert.match(plan.refused[0]?.why ?? '', /its log is well.*millrace consumers resume/)
    await millrace.stop()
    await pauseConsumers(all.operator, APP, { reason: 'night' })
    const done = await resumeConsumers(all.operator, APP)
    assert.deepEqual([done.pauses.length, done.stops.length], [1, 1])
    await all.start(application('app').on(ordered2, store))
    await all.caughtUp()
    assert.equal((await all.done()).length, 60)
  })
})
