import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { start } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { event } from '../../../src/events/event.ts'
import { orderReplay } from '../../../src/replay/order.ts'
import { orderRecordsReplay } from '../../../src/replay/records-order.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { holdAt } from '../../support/held.ts'
import { keepingLogger, running, settled } from '../../support/millrace.ts'
import { bed, type Copy } from '../../support/once.ts'
import { eventually } from '../../support/wait.ts'

for (const kind of ['table', 'kafka'] as const) {
  describe(`a handler that handles an event once, on the ${kind} log`, () => {
    it('takes the first of two copies in a batch, and leaves other handlers every record', async (t) => {
      const it = await bed(t, kind)
      await it.append(['a'], ['b'], ['a'], ['a'], ['c'])
      const millrace = await it.run()
      await settled(millrace)
      assert.deepEqual((await it.handled('mail')).sort(), ['a', 'b', 'c'])
      assert.deepEqual(await it.handled('ledger'), ['a', 'b', 'c'])
      assert.deepEqual(await it.handled('every'), ['a', 'b', 'a', 'a', 'c'])
      assert.equal(await it.duplicates(), 4)
      const summary = await millrace.summary()
      assert.deepEqual([summary.handled, summary.filtered], [11, 4])
    })

    it('knows it in later batches and after a restart, and does not prepare it again', async (t) => {
      const it = await bed(t, kind, { batchRecords: 2 })
      const first = await it.run()
      await it.append(['a'], ['b'])
      await settled(first)
      await it.append(['b'], ['a'], ['c'])
      await settled(first)
      await first.stop()
      const second = await it.run()
      await it.append(['c', 1], ['a', 2], ['d'])
      await settled(second)
      for (const handler of ['mail', 'ledger'] as const)
        assert.deepEqual((await it.handled(handler)).sort(), ['a', 'b', 'c', 'd'])
      assert.deepEqual(it.code.prepared.toSorted(), ['a', 'b', 'c', 'd'])
      assert.equal(await it.duplicates(), 8)
    })

    it('waits for a transaction with the same event, and is told by its end', async (t) => {
      for (const end of ['commit', 'rollback'] as const) {
        const it = await bed(t, kind, { transactionTimeoutMs: 900 })
        await it.append(['a', 0], ['b', 0], ['b', 1], ['a', 1], ['a', 2])
        const held = holdAt(t, 'batch:before-commit')
        const millrace = await it.run()
        await held.reached
        await eventually(async () => (await waiting(it.pool)) === 2)
        if (end === 'rollback') {
          await it.pool.query(
            `select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and state = 'idle in transaction'`,
          )
        }
        held.release()
        await settled(millrace)
        for (const handler of ['mail', 'ledger'] as const)
          assert.deepEqual((await it.handled(handler)).sort(), ['a', 'b'])
        const all = await it.handled('every')
        assert.equal(all.length, 5)
        assert.equal(await it.duplicates(), 6)
      }
    })

    it('handles the same records again after a seek, and the same copy of each', async (t) => {
      const it = await bed(t, kind, { start: { offset: 2n }, batchRecords: 3 })
      // The first two are not read: so the copies behind them are the ones that are handled.
      await it.append(['a'], ['b'], ['b'], ['a'], ['c'], ['a'])
      const millrace = await it.run()
      await settled(millrace)
      assert.deepEqual(await it.handled('ledger'), ['b', 'a', 'c'])
      await it.rewind()
      await settled(millrace)
      const again = ['b/1', 'a/1', 'c/1']
      assert.deepEqual(await it.handled('ledger'), ['b', 'a', 'c', ...again])
      assert.deepEqual((await it.handled('mail')).sort(), ['a', 'a/1', 'b', 'b/1', 'c', 'c/1'])
      assert.equal((await it.handled('every')).length, 10)
    })

    it('takes a copy of a dead letter for a duplicate, and never refuses a replay', async (t) => {
      const it = await bed(t, kind)
      it.code.refused = ['a']
      const millrace = await it.run()
      await it.append(['a'], ['b'])
      await settled(millrace)
      it.code.refused = []
      await it.append(['a'])
      await settled(millrace)
      assert.deepEqual(await it.handled('ledger'), ['b'])
      // As if it had lain there for long: the replay is handled all the same, and remembered.
      await it.pool.query('delete from millrace.seen_event')
      const replay = await orderReplay(it.operator, { selection: { application: 'shop' } })
      const { state, passed } = await it.atRest(replay.id)
      assert.deepEqual([state, passed], ['finished', 2n])
      await it.append(['a'], ['a', 1])
      await settled(millrace)
      assert.deepEqual(await it.handled('ledger'), ['b', 'a'])
      assert.deepEqual((await it.handled('mail')).sort(), ['a', 'b'])
      assert.equal(await it.duplicates(), 6)
    })

    it('handles each event of a replay of past records once, whatever was handled before', async (t) => {
      const it = await bed(t, kind, { batchRecords: 2 })
      const millrace = await it.run()
      await it.append(['a'], ['b', 1], ['a', 1], ['b'], ['c', 2], ['a', 2])
      await settled(millrace)
      const before = await seen(it.pool)
      for (const round of [1, 2]) {
        const replay = await orderRecordsReplay(it.operator, {
          application: 'shop',
          handler: 'ledger',
          topic: it.topic,
        })
        const { state, passed, skipped } = await it.atRest(replay.id)
        assert.deepEqual([state, passed, skipped], ['finished', 3n, 3n])
        const ofReplay = (await it.handled('ledger')).slice(3 * round)
        assert.deepEqual(ofReplay.sort(), [`a/${-replay.id}`, `b/${-replay.id}`, `c/${-replay.id}`])
      }
      // What is read from the log goes by what was read from the log.
      const after = await seen(it.pool)
      assert.deepEqual(
        before.filter((row) => !after.includes(row)),
        [],
      )
    })

    it('leaves copies out of a dry run of past records too, as far as they come together', async (t) => {
      const it = await bed(t, kind)
      const millrace = await it.run()
      await it.append(['a'], ['a'], ['b'])
      await settled(millrace)
      const { id } = await orderRecordsReplay(it.operator, {
        application: 'shop',
        handler: 'ledger',
        topic: it.topic,
        dryRun: true,
      })
      const { state, passed, skipped } = await it.atRest(id)
      assert.deepEqual([state, passed, skipped], ['finished', 2n, 1n])
      assert.deepEqual((await it.handled('ledger')).sort(), ['a', 'b'])
    })

    it('handles each of many events once, in every reading, whoever reads', async (t) => {
      const seed = Number(process.env['MILLRACE_SEED'] ?? Math.floor(Math.random() * 1e6))
      t.diagnostic(`seed ${seed}`)
      const random = seededRandom(seed)
      const it = await bed(t, kind, { batchRecords: 7, transactionTimeoutMs: 2_000 })
      const draw = (): Copy => [
        `e-${Math.floor(random.next() * 60)}`,
        Math.floor(random.next() * 3),
      ]
      const copies = Array.from({ length: 300 }, draw)
      const ids = [...new Set(copies.map(([id]) => id))].sort()
      const one = await it.run({ name: 'one' })
      const two = await it.run({ name: 'two' })
      for (let at = 0; at < copies.length; at += 20) await it.append(...copies.slice(at, at + 20))
      await settled(one)
      for (const handler of ['mail', 'ledger'] as const)
        assert.deepEqual((await it.handled(handler)).sort(), ids)
      await it.rewind()
      await settled(two)
      for (const handler of ['mail', 'ledger'] as const) {
        const again = (await it.handled(handler)).filter((id) => id.endsWith('/1'))
        assert.deepEqual(
          again.sort(),
          ids.map((id) => `${id}/1`),
        )
      }
      assert.equal((await it.handled('every')).length, 600)
    })
  })
}

describe('a handler that handles an event once', () => {
  it('handles it again when the time is over for which it is remembered', async (t) => {
    const it = await bed(t, 'table')
    const millrace = await it.run()
    await it.append(['a'], ['b'])
    await settled(millrace)
    // One row per handler: that of the ledger goes after an hour, that of the mail after a week.
    const { rows } = await it.pool.query<{ hours: number }>(
      `select round(extract(epoch from expires_at - clock_timestamp()) / 3600)::int as hours from millrace.seen_event order by 1`,
    )
    assert.deepEqual(
      rows.map(({ hours }) => hours),
      [1, 1, 168, 168],
    )
    await it.pool.query(
      `update millrace.seen_event set expires_at = clock_timestamp() where expires_at < clock_timestamp() + interval '2 hours'`,
    )
    await it.append(['a', 1], ['a', 1])
    await settled(millrace)
    assert.deepEqual(await it.handled('ledger'), ['a', 'b', 'a'])
    assert.deepEqual((await it.handled('mail')).sort(), ['a', 'b'])
  })

  it('makes one dead letter of two copies in a batch, whatever fails', async (t) => {
    const it = await bed(t, 'table', { maxAttempts: 1 })
    it.code.refused = ['a', 'c']
    await it.append(['a'], ['b'], ['a'], ['c'], ['b'], ['c'], ['d'])
    const millrace = await it.run()
    await settled(millrace)
    const { rows } = await it.pool.query(
      `select handler, stage, convert_from(value, 'UTF8')::json ->> 'id' as id, "offset"::int as "offset"
       from millrace.dead_letter order by 1, 3`,
    )
    assert.deepEqual(rows, [
      { handler: 'ledger', stage: 'apply', id: 'a', offset: 0 },
      { handler: 'ledger', stage: 'apply', id: 'c', offset: 3 },
      { handler: 'mail', stage: 'prepare', id: 'a', offset: 0 },
      { handler: 'mail', stage: 'prepare', id: 'c', offset: 3 },
    ])
    assert.deepEqual(await it.handled('ledger'), ['b', 'd'])
    assert.deepEqual((await it.handled('mail')).sort(), ['b', 'd'])
    assert.equal(await it.duplicates(), 6)
  })

  it('does not stop a partition for copies that fail because the first went well', async (t) => {
    const it = await bed(t, 'table', {
      maxAttempts: 1,
      floodBrake: { atLeast: 3, minKeys: 1, share: 0.1 },
    })
    const ids = ['a', 'b', 'c', 'd', 'e', 'f']
    const millrace = await it.run()
    await it.append(...ids.map((id): Copy => [id]))
    await settled(millrace)
    it.code.refused = [...ids, 'x']
    await it.append(...ids.map((id): Copy => [id]), ['x'], ...ids.map((id): Copy => [id]))
    await settled(millrace)
    const { rows } = await it.pool.query(
      'select halted from millrace.position where halted <> $1',
      [''],
    )
    assert.deepEqual(rows, [])
    assert.equal(await it.duplicates(), 24)
  })

  it('blames no record for a row that somebody holds, and goes on when it is let go', async (t) => {
    const it = await bed(t, 'table', { maxAttempts: 1, transactionTimeoutMs: 100 })
    const logger = keepingLogger()
    const millrace = await it.run({ logger })
    await it.append(['a'], ['b'], ['c'])
    await settled(millrace)
    const client = await it.pool.connect()
    await client.query('begin')
    await client.query('select from millrace.seen_event for update')
    await it.rewind()
    const tried = (): number =>
      logger.lines.filter(({ message }) => message === 'a batch failed and is tried again').length
    await eventually(() => tried() >= 3)
    await client.query('rollback')
    client.release()
    await settled(millrace)
    assert.deepEqual((await it.handled('mail')).sort(), ['a', 'a/1', 'b', 'b/1', 'c', 'c/1'])
    assert.equal((await it.pool.query('select from millrace.dead_letter')).rowCount, 0)
  })

  it('finds the one bad record of a statement for all of them, and copies as before', async (t) => {
    const { url, pool } = await testDatabase(t)
    await pool.query('create table done (n int primary key check (n <> 13))')
    const counted = event('COUNTED', {
      source: 'TEST',
      topic: 'numbers',
      schema: z.object({ n: z.int() }),
    })
    const app = application('app', { maxAttempts: 1, floodBrake: false }).on(
      counted,
      inTransaction({
        applyBatch: async (records, { tx }) => {
          await tx.query('insert into done select unnest($1::int[])', [
            records.map(({ event: { data } }) => data.n),
          ])
        },
      }),
      { once: '1d' },
    )
    const writer = await start({
      database: url,
      queues: false,
      topics: { numbers: { partitions: 1 } },
    })
    cleanup(t, () => writer.stop())
    for (const round of [0, 1, 2]) {
      for (let n = round; n < 20; n += 1) {
        await writer.publish(counted, { n }, { id: `n-${n}` })
      }
    }
    const millrace = await running(t, { database: url, run: [app] })
    await settled(millrace)
    const { rows } = await pool.query<{ n: number }>('select n from done order by n')
    assert.deepEqual(
      rows.map(({ n }) => n),
      Array.from({ length: 20 }, (_, n) => n).filter((n) => n !== 13),
    )
    const letters = await pool.query('select "offset"::int as "offset" from millrace.dead_letter')
    assert.deepEqual(letters.rows, [{ offset: 13 }])
  })

  it('says of a duplicate that it was filtered as one', async (t) => {
    const it = await bed(t, 'table')
    const millrace = await it.run()
    await it.append(['a'])
    await settled(millrace)
    await it.append(['a'])
    await settled(millrace)
    const { rows } = await it.pool.query(
      'select first_offset::int as at, done, jobs, filtered, filtered_by from millrace.batch order by 1',
    )
    assert.deepEqual(rows, [
      { at: 0, done: 2, jobs: 1, filtered: 0, filtered_by: {} },
      { at: 1, done: 1, jobs: 0, filtered: 2, filtered_by: { duplicate: 2 } },
    ])
  })
})

/** How many transactions wait for another one's events. */
async function waiting(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    `select count(*)::int as n from pg_stat_activity
     where datname = current_database() and wait_event_type = 'Lock' and query like '%seen-claim%'
       and pid <> pg_backend_pid()`,
  )
  return rows[0]?.n ?? 0
}

async function seen(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<{ place: string }>(
    `select concat_ws('/', key, topic_id, partition, "offset", expires_at) as place from millrace.seen_event order by 1`,
  )
  return rows.map(({ place }) => place)
}
