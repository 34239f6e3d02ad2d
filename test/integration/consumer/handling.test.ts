import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { start, type Millrace } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { skip } from '../../../src/consumer/handler.ts'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({ orderId: z.string(), n: z.int() }),
  key: (data) => data.orderId,
})
const orderPlaced = event('ORDER_PLACED', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({ orderId: z.string() }),
  key: (data) => data.orderId,
})
const count = job('count', { args: z.object({ n: z.int() }), handle: () => {} })

async function setup(t: TestContext): Promise<{ url: string; pool: pg.Pool }> {
  const { url, pool } = await testDatabase(t)
  await pool.query(
    'create table sold (n int primary key, rate int, offset_ bigint, at timestamptz default clock_timestamp())',
  )
  return { url, pool }
}

const sell = (millrace: Millrace, from: number, to: number): Promise<string[]> =>
  millrace.publishMany(
    itemSold,
    Array.from({ length: to - from }, (_, i) => ({
      orderId: `order-${(from + i) % 7}`,
      n: from + i,
    })),
  )

describe('an application', () => {
  it('makes one job of every record and executes it', async (t) => {
    const { url, pool } = await setup(t)
    const handled: number[] = []
    const remember = job('remember', {
      args: z.object({ n: z.int() }),
      handle: ({ n }) => void handled.push(n),
    })
    const search = application('search').on(
      itemSold,
      toJob(remember, ({ data }) => ({ n: data.n })),
    )
    const millrace = await running(t, { database: url, run: [search] })
    await sell(millrace, 0, 1_000)
    await settled(millrace)
    assert.deepEqual(
      handled.toSorted((a, b) => a - b),
      Array.from({ length: 1_000 }, (_, i) => i),
    )
    const { rows } = await pool.query(
      `select sum(records)::int as records, sum(jobs)::int as jobs, sum(done + filtered + dead_lettered)::int as others from millrace.batch`,
    )
    assert.deepEqual(rows, [{ records: 1_000, jobs: 1_000, others: 0 }])
    const summary = await millrace.summary()
    assert.deepEqual(
      { ...summary, at: null },
      {
        at: null,
        events: 1_000,
        handled: 1_000,
        filtered: 0,
        jobsCompleted: 1_000,
        attemptsFailed: 0,
        deadLetters: 0,
        deadLettersOpen: 0,
        deadLettersParked: 0,
        deadLettersLastHour: 0,
        deadLetterAgeMs: null,
        deadLetterGroups: [],
        backlog: 0,
        lag: 0,
        partitionsHalted: 0,
        outbox: 0,
        outboxAgeMs: null,
        outboxHalted: 0,
      },
    )
  })

  it('gives the job the origin of its record and the event as its cause', async (t) => {
    const { url, pool } = await setup(t)
    const seen = Promise.withResolvers<Record<string, unknown>>()
    const look = job('look', {
      args: z.object({}),
      handle: (_, { origin, meta, idempotencyKey }) =>
        seen.resolve({ origin, meta, idempotencyKey }),
    })
    const millrace = await running(t, {
      database: url,
      run: [
        application('looker').on(
          itemSold,
          toJob(look, () => ({})),
        ),
      ],
    })
    const id = await millrace.publish(itemSold, { orderId: 'a', n: 1 })
    const { origin, meta, idempotencyKey } = await seen.promise
    const topic = await millrace.log.topic('orders')
    assert.deepEqual(
      { ...(origin as object), partition: 0, offset: 0n, writtenMs: 0 },
      {
        application: 'looker',
        handler: 'look',
        topic: 'orders',
        topicId: topic?.id,
        partition: 0,
        offset: 0n,
        generation: 0,
        index: 0,
        writtenMs: 0,
      },
    )
    const { rows } = await pool.query<{ writtenMs: number }>(
      `select extract(epoch from date_trunc('milliseconds', "timestamp"))::float8 * 1000 as "writtenMs" from millrace.record`,
    )
    assert.deepEqual(rows, [{ writtenMs: (origin as { writtenMs: number }).writtenMs }])
    assert.equal((meta as { causationId: string }).causationId, id)
    assert.equal((meta as { correlationId: string }).correlationId, id)
    assert.match(String(idempotencyKey), /^[0-9a-f-]{36}$/)
  })

  it('prepares outside and applies inside the transaction that moves the position', async (t) => {
    const { url, pool } = await setup(t)
    const commissions = application('commissions').on(
      itemSold,
      inTransaction({
        prepare: async ({ data }) => ({ rate: data.n % 10 }),
        apply: async ({ data }, { rate }, { tx, record }) => {
          await tx.query('insert into sold (n, rate, offset_) values ($1, $2, $3)', [
            data.n,
            rate,
            record.offset,
          ])
        },
      }),
    )
    const millrace = await running(t, { database: url, run: [commissions] })
    await sell(millrace, 0, 300)
    await settled(millrace)
    const { rows } = await pool.query(
      'select count(*)::int as rows, count(distinct n)::int as ns, sum(rate)::int as rates from sold',
    )
    assert.deepEqual(rows, [{ rows: 300, ns: 300, rates: 30 * 45 }])
  })

  it('publishes and inserts in that same transaction', async (t) => {
    const { url, pool } = await setup(t)
    const orders = application('orders').on(
      orderPlaced,
      inTransaction(async ({ data }, { tx }) => {
        await tx.publish(itemSold, { orderId: data.orderId, n: 1 })
        await tx.insert(count, { n: 1 })
        if (data.orderId === 'bad') throw permanent('this order is no order')
      }),
    )
    const millrace = await running(t, { database: url, run: [orders], jobs: [count] })
    await millrace.publishMany(orderPlaced, [
      { orderId: 'good' },
      { orderId: 'bad' },
      { orderId: 'better' },
    ])
    await settled(millrace)
    const { rows } = await pool.query(
      `select convert_from(r.key, 'UTF8') as key from millrace.record r where exists (
         select from json_array_elements(r.headers) h where h ->> 0 = 'ce_type' and h ->> 1 = 'ITEM_SOLD') order by 1`,
    )
    assert.deepEqual(
      rows.map(({ key }) => key),
      ['better', 'good'],
    )
    const { rows: jobs } = await pool.query(
      'select count(*)::int as jobs from millrace.job_history',
    )
    assert.deepEqual(jobs, [{ jobs: 2 }])
    const letters = await listDeadLetters(pool as never)
    assert.deepEqual(
      letters.map(({ stage, handler, error }) => [stage, handler, error.message]),
      [['apply', 'ORDER_PLACED', 'this order is no order']],
    )
  })

  it('counts what it skips, filters and does not handle, each under its reason', async (t) => {
    const { url, pool } = await setup(t)
    const picky = application('picky').on(
      itemSold,
      toJob(count, ({ data }) => (data.n % 3 === 0 ? skip('a third') : { n: data.n })),
      { filter: ({ data }) => data.n < 90 },
    )
    const millrace = await running(t, {
      database: url,
      run: [picky],
      topics: { orders: { partitions: 2 } },
    })
    await sell(millrace, 0, 100)
    await millrace.publishMany(
      orderPlaced,
      Array.from({ length: 5 }, (_, i) => ({ orderId: `o${i}` })),
    )
    await millrace.log.append([
      { topic: 'orders', key: new Uint8Array([1]), value: null, headers: [] },
    ])
    await settled(millrace)
    const { rows } = await pool.query(
      `select key as reason, sum(value::int)::int as records from millrace.batch, json_each_text(filtered_by) group by 1 order by 1`,
    )
    assert.deepEqual(rows, [
      { reason: 'a third', records: 30 },
      { reason: 'filter', records: 10 },
      { reason: 'tombstone', records: 1 },
      { reason: 'unhandled type', records: 5 },
    ])
    const summary = await millrace.summary()
    assert.equal(summary.handled, 60)
    assert.equal(summary.filtered, 46)
  })

  it('gives every handler of an event every record once', async (t) => {
    const { url, pool } = await setup(t)
    const app = application('twice')
      .on(
        itemSold,
        toJob(count, ({ data }) => ({ n: data.n })),
      )
      .on(
        itemSold,
        inTransaction(
          async ({ data }, { tx }) =>
            void (await tx.query('insert into sold (n) values ($1)', [data.n])),
        ),
        { name: 'store' },
      )
    const millrace = await running(t, { database: url, run: [app] })
    await sell(millrace, 0, 50)
    await settled(millrace)
    const { rows } = await pool.query(
      'select (select count(*)::int from sold) as sold, (select count(*)::int from millrace.job_history) as jobs',
    )
    assert.deepEqual(rows, [{ sold: 50, jobs: 50 }])
    assert.throws(
      () =>
        app.on(
          itemSold,
          toJob(count, () => ({ n: 1 })),
        ),
      /a name that no other handler of ITEM_SOLD has/,
    )
  })

  it('reads on where it stopped, and several read the same topic each at their own position', async (t) => {
    const { url, pool } = await setup(t)
    const app = (name: string) =>
      application(name).on(
        itemSold,
        toJob(count, ({ data }) => ({ n: data.n })),
      )
    const first = await running(t, { database: url, run: [app('a')] })
    await sell(first, 0, 20)
    await settled(first)
    await first.stop()
    const second = await running(t, { database: url, run: [app('a'), app('b')] })
    await sell(second, 20, 30)
    await settled(second)
    const { rows } = await pool.query(
      'select application, sum(jobs)::int as jobs from millrace.batch group by 1 order by 1',
    )
    assert.deepEqual(rows, [
      { application: 'a', jobs: 30 },
      { application: 'b', jobs: 30 },
    ])
  })

  it('gives its partitions back when it stops', async (t) => {
    const { url, pool } = await setup(t)
    const millrace = await running(t, {
      database: url,
      run: [
        application('a').on(
          itemSold,
          toJob(count, ({ data }) => ({ n: data.n })),
        ),
      ],
    })
    await eventually(
      async () =>
        (await pool.query('select from millrace.position where owner is not null')).rowCount === 6,
    )
    await millrace.stop()
    const { rows } = await pool.query(
      'select (select count(*)::int from millrace.position where owner is not null) as owned, (select count(*)::int from millrace.process) as processes',
    )
    assert.deepEqual(rows, [{ owned: 0, processes: 0 }])
  })

  it('shares its partitions with another process, and takes them all when that one goes', async (t) => {
    const { url, pool } = await setup(t)
    const app = application('a').on(
      itemSold,
      inTransaction(
        async ({ data }, { tx }) =>
          void (await tx.query('insert into sold (n) values ($1)', [data.n])),
      ),
    )
    const one = await running(t, { database: url, run: [app], name: 'one' })
    const owners = async (): Promise<Record<string, number>> => {
      const list = await listConsumers(pool as never, one.log)
      return Object.fromEntries(
        [...Map.groupBy(list, ({ owner }) => String(owner))].map(([name, all]) => [
          name,
          all.length,
        ]),
      )
    }
    await eventually(async () => (await owners())['one'] === 6)
    const two = await start({
      database: url,
      run: [app],
      name: 'two',
      takeOverMs: 3_000,
      heartbeatMs: 200,
    })
    const selling = (async () => {
      for (let n = 0; n < 600; n += 20) await sell(one, n, n + 20)
    })()
    await eventually(async () => (await owners())['one'] === 3 && (await owners())['two'] === 3)
    await selling
    await two.stop()
    await eventually(async () => (await owners())['one'] === 6)
    await settled(one)
    const { rows } = await pool.query('select count(*)::int as sold from sold')
    assert.deepEqual(rows, [{ sold: 600 }])
  })
})

describe("the caller's own transaction", () => {
  it("commits an event and a job together with the caller's rows, through a pg client", async (t) => {
    const { url, pool } = await setup(t)
    const app = application('a').on(
      itemSold,
      inTransaction(
        async ({ data }, { tx }) =>
          void (await tx.query('insert into sold (n) values ($1)', [data.n])),
      ),
    )
    const millrace = await running(t, { database: url, run: [app], jobs: [count] })
    const client = await pool.connect()
    for (const end of ['rollback', 'commit']) {
      await client.query('begin')
      await millrace.publish(itemSold, { orderId: 'x', n: 7 }, { tx: client as never })
      await millrace.insert(count, { n: 7 }, { tx: client as never })
      await client.query(end)
    }
    client.release()
    await eventually(async () => (await pool.query('select from sold')).rowCount === 1)
    await eventually(
      async () => (await pool.query('select from millrace.job_history')).rowCount === 1,
    )
    assert.equal((await pool.query('select from millrace.record')).rowCount, 1)
  })

  it('commits or rolls back all of millrace.transaction', async (t) => {
    const { url, pool } = await setup(t)
    const millrace = await running(t, {
      database: url,
      topics: { orders: { partitions: 1 } },
      jobs: [count],
    })
    await assert.rejects(
      millrace.transaction(async (tx) => {
        await tx.query('insert into sold (n) values (1)')
        await tx.publish(itemSold, { orderId: 'x', n: 1 })
        await tx.insert(count, { n: 1 })
        throw new Error('changed my mind')
      }),
      /changed my mind/,
    )
    await millrace.transaction(async (tx) => {
      await tx.query('insert into sold (n) values (2)')
      await tx.publishMany(itemSold, [
        { orderId: 'x', n: 2 },
        { orderId: 'x', n: 3 },
      ])
      await tx.insertMany(count, [{ n: 2 }, { n: 3 }])
    })
    await eventually(
      async () => (await pool.query('select from millrace.job_history')).rowCount === 2,
    )
    assert.deepEqual((await pool.query('select n from sold')).rows, [{ n: 2 }])
    assert.equal((await pool.query('select from millrace.record')).rowCount, 2)
  })

  it('refuses data that do not match the schema, before anything is written', async (t) => {
    const { url, pool } = await setup(t)
    const millrace = await running(t, { database: url, topics: { orders: { partitions: 1 } } })
    await assert.rejects(millrace.publish(itemSold, { orderId: 'x', n: 'many' as never }), {
      code: 'E_EVENT_INVALID',
    })
    await assert.rejects(millrace.insert(count, { n: 1.5 }), { code: 'E_EVENT_INVALID' })
    await assert.rejects(
      millrace.publish(event('E', { source: 's', topic: 'nowhere', schema: z.string() }), 'x'),
      { code: 'E_LOG_UNKNOWN_TOPIC' },
    )
    assert.equal((await pool.query('select from millrace.record')).rowCount, 0)
  })

  it('refuses a transaction that is used after it has ended', async (t) => {
    const { url } = await setup(t)
    const millrace = await running(t, { database: url })
    let kept: Parameters<Parameters<typeof millrace.transaction>[0]>[0] | undefined
    await millrace.transaction(async (tx) => {
      kept = tx
    })
    await assert.rejects(async () => kept?.query('select 1'), /the transaction is over/)
    await assert.rejects(async () => kept?.publish(itemSold, { orderId: 'x', n: 1 }))
  })
})
