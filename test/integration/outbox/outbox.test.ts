import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { createCore } from '../../../src/core/core.ts'
import type { NewRecord } from '../../../src/log/port.ts'
import { appendToOutbox } from '../../../src/outbox/append.ts'
import { prune } from '../../../src/outbox/prune.ts'
import { summarizeOutbox } from '../../../src/outbox/queries.ts'
import { readOutbox, type OutboxRecord } from '../../../src/outbox/read.ts'
import {
  noteRelayed,
  readShards,
  setShardCount,
  shardsWithRecords,
  takeShards,
} from '../../../src/outbox/shards.ts'
import { readCounts } from '../../../src/counts/counts.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'

const core = createCore()

function record(key: string | null, value: string, parts: Partial<NewRecord> = {}): NewRecord {
  const bytes = key === null ? null : Buffer.from(key)
  return { topic: 'orders', key: bytes, value: Buffer.from(value), headers: [], ...parts }
}

interface Writer {
  append(...records: readonly NewRecord[]): Promise<readonly number[]>
  query(text: string): Promise<unknown>
  commit(): Promise<void>
}

/** A transaction that stays open until it is committed. */
async function begin(t: TestContext, pool: pg.Pool, isolation = 'read committed'): Promise<Writer> {
  const client = await pool.connect()
  let open = true
  cleanup(t, async () => {
    if (open) client.release(true)
    return Promise.resolve()
  })
  await client.query(`begin isolation level ${isolation}`)
  return {
    append: (...records) => appendToOutbox(client, core, records),
    query: (text) => client.query(text),
    async commit() {
      await client.query('commit')
      open = false
      client.release()
    },
  }
}

async function write(pool: pg.Pool, ...records: readonly NewRecord[]): Promise<readonly number[]> {
  return appendToOutbox(pool, core, records)
}

async function read(pool: pg.Pool, shard: number, behind = 0n): Promise<readonly OutboxRecord[]> {
  const limits = { maxRecords: 10_000, maxBytes: 100_000_000 }
  return (await readOutbox(pool, { shard, behind, ...limits })).records
}

async function readAll(pool: pg.Pool): Promise<string[]> {
  const values: string[] = []
  for (const shard of (await readShards(pool)).shards) {
    for (const { value } of await read(pool, shard.shard)) values.push(String(value))
  }
  return values.sort()
}

describe('the outbox', () => {
  it('keeps records as they are, in the order given', async (t) => {
    const { pool } = await testDatabase(t)
    const odd = Buffer.from([0xff, 0])
    const headers = [
      ['a', Buffer.from('1')],
      ['a', null],
      ['b', odd],
    ] as const
    const timestamp = new Date('2026-11-23T01:02:03.004Z')
    const shards = await write(
      pool,
      record('k', '1', { headers, timestamp, partition: 3 }),
      { topic: 'orders', key: Buffer.from('k'), value: null, headers: [] },
      record('k', ''),
    )
    assert.equal(shards.length, 1)
    const records = await read(pool, shards[0] as number)
    assert.deepEqual(
      records.map((one) => [one.key?.toString(), one.value?.toString() ?? null, one.partition]),
      [
        ['k', '1', 3],
        ['k', null, null],
        ['k', '', null],
      ],
    )
    assert.deepEqual(records[0]?.headers, headers)
    assert.deepEqual(records[0].timestamp, timestamp)
  })

  it('puts one topic and key into one shard, and spreads keys over all', async (t) => {
    const { pool } = await testDatabase(t)
    const keys = Array.from({ length: 64 }, (_, i) => `key-${i}`)
    const shardOf = new Map<string, readonly number[]>()
    for (const key of keys) shardOf.set(key, await write(pool, record(key, 'first')))
    for (const key of keys) {
      assert.deepEqual(await write(pool, record(key, 'again')), shardOf.get(key))
    }
    assert.deepEqual([...new Set([...shardOf.values()].flat())].sort(), [0, 1, 2, 3])
  })

  it('has nothing of a transaction that rolled back', async (t) => {
    const { pool } = await testDatabase(t)
    const writer = await begin(t, pool)
    await writer.append(record('a', 'kept'))
    await writer.query('savepoint s')
    await writer.append(record('b', 'taken back'))
    await writer.query('rollback to savepoint s')
    await writer.append(record('b', 'kept too'))
    await writer.commit()
    assert.deepEqual(await readAll(pool), ['kept', 'kept too'])
  })

  it('waits for a transaction that wrote earlier and is still open, and passes over nothing', async (t) => {
    const { pool } = await testDatabase(t)
    const slow = await begin(t, pool)
    await slow.append(record('k', '1'))
    const quick = await begin(t, pool)
    const [shard] = await quick.append(record('k', '2'))
    await quick.commit()
    assert.deepEqual(await read(pool, shard as number), [])
    assert.deepEqual(await shardsWithRecords(pool, [{ shard: shard as number, behind: 0n }]), [
      shard,
    ])
    await slow.commit()
    const values = (await read(pool, shard as number)).map(({ value }) => String(value))
    assert.deepEqual(values, ['1', '2'])
  })

  it('does not wait for a transaction that writes to another shard', async (t) => {
    const { pool } = await testDatabase(t)
    const keys = Array.from({ length: 64 }, (_, i) => `key-${i}`)
    const slow = await begin(t, pool)
    const [held] = await slow.append(record(keys[0] as string, 'slow'))
    let shard = held
    for (let i = 1; shard === held; i += 1) {
      ;[shard] = await write(pool, record(keys[i] as string, 'quick'))
    }
    assert.equal((await read(pool, shard as number)).length, 1)
  })

  it('gives many writers in long and short transactions their order, and loses none', async (t) => {
    const { pool } = await testDatabase(t)
    const seen = new Map<number, OutboxRecord[]>([0, 1, 2, 3].map((shard) => [shard, []]))
    let writing = true
    const reader = (async () => {
      for (let last = false; ; ) {
        for (const [shard, records] of seen) {
          records.push(...(await read(pool, shard, records.at(-1)?.offset ?? 0n)))
        }
        if (last) return
        last = !writing
      }
    })()
    await Promise.all(
      [0, 1, 2, 3].map(async (one) => {
        for (let n = 0; n < 40; n += 1) {
          const writer = await begin(t, pool)
          await writer.append(record(`key-${one}`, `${one}:${n}:0`), record(null, 'loose'))
          await writer.query(`select pg_sleep(${(n % 3) / 200})`)
          await writer.append(record(`key-${one}`, `${one}:${n}:1`))
          await writer.commit()
        }
      }),
    )
    writing = false
    await reader
    const all = [...seen.values()].flat()
    assert.equal(all.length, 4 * 40 * 3)
    for (const one of [0, 1, 2, 3]) {
      const values = all
        .filter(({ key }) => String(key) === `key-${one}`)
        .map((r) => String(r.value))
      const expected = Array.from({ length: 80 }, (_, i) => `${one}:${Math.floor(i / 2)}:${i % 2}`)
      assert.deepEqual(values, expected)
    }
  })

  it('reads no more than asked for, but always the first', async (t) => {
    const { pool } = await testDatabase(t)
    const [shard] = await write(
      pool,
      ...Array.from({ length: 10 }, (_, i) => record('k', String(i).repeat(1_000))),
    )
    const limits = { shard: shard as number, behind: 0n }
    const few = await readOutbox(pool, { ...limits, maxRecords: 3, maxBytes: 1_000_000 })
    assert.deepEqual([few.records.length, few.more], [3, true])
    const small = await readOutbox(pool, { ...limits, maxRecords: 100, maxBytes: 2_500 })
    assert.deepEqual([small.records.length, small.more], [2, true])
    const least = await readOutbox(pool, { ...limits, maxRecords: 100, maxBytes: 1 })
    assert.deepEqual([least.records.length, least.more], [1, true])
    const rest = await readOutbox(pool, { ...limits, maxRecords: 100, maxBytes: 1_000_000 })
    assert.deepEqual([rest.records.length, rest.more], [10, false])
  })

  it('refuses to be read where it could pass over records', async (t) => {
    const { pool } = await testDatabase(t)
    const writer = await begin(t, pool, 'repeatable read')
    await assert.rejects(
      writer.query('select * from millrace.outbox_fetch(0::smallint, 0, 1, 1)'),
      {
        code: '55000',
      },
    )
  })

  it('reads with an index, however much there is', async (t) => {
    const { pool } = await testDatabase(t)
    for (let i = 0; i < 5; i += 1) {
      await write(pool, ...Array.from({ length: 2_000 }, (_, n) => record(`${n}`, 'x')))
    }
    const client = await pool.connect()
    try {
      await client.query(`load 'auto_explain'; set auto_explain.log_nested_statements = on;
        set auto_explain.log_min_duration = 0; set auto_explain.log_level = notice`)
      const plans: string[] = []
      client.on('notice', ({ message }) => plans.push(String(message)))
      await client.query('select count(*) from millrace.outbox_fetch(1::smallint, 0, 100, 1000000)')
      const plan = plans.find((text) => text.includes('outbox_record'))
      assert.match(String(plan), /Index Scan/)
      assert.doesNotMatch(String(plan), /Seq Scan on outbox_record|->  Sort/)
    } finally {
      client.release(true)
    }
  })
})

describe('a change of the shards', () => {
  it('shows as new ones in the place of those before, which stay until they are at their end', async (t) => {
    const { pool } = await testDatabase(t)
    await write(pool, record('k', 'old'))
    await setShardCount(pool, 4)
    assert.deepEqual((await readShards(pool)).layout, { first: 0, count: 4 })
    await setShardCount(pool, 2)
    const { layout, shards } = await readShards(pool)
    assert.deepEqual(layout, { first: 4, count: 2 })
    assert.deepEqual(
      shards.map(({ shard }) => shard),
      [0, 1, 2, 3, 4, 5],
    )
    const [shard] = await write(pool, record('k', 'new'))
    assert.ok(shard === 4 || shard === 5)
  })

  it('happens once when several ask for it at once', async (t) => {
    const { pool } = await testDatabase(t)
    await Promise.all(Array.from({ length: 5 }, () => setShardCount(pool, 7)))
    assert.deepEqual((await readShards(pool)).layout, { first: 4, count: 7 })
  })

  it('is seen by a transaction whose snapshot is older', async (t) => {
    const { pool } = await testDatabase(t)
    const writer = await begin(t, pool, 'repeatable read')
    await writer.query('select 1')
    await setShardCount(pool, 3)
    const shards = await writer.append(...['a', 'b', 'c'].map((key) => record(key, key)))
    await writer.commit()
    assert.ok(shards.every((shard) => shard >= 4))
  })

  it('leaves the horizon of an old shard below what an open transaction may write to it', async (t) => {
    const { pool } = await testDatabase(t)
    const writer = await begin(t, pool)
    const [shard] = await writer.append(record('k', 'old'))
    await setShardCount(pool, 2)
    const limits = { shard: shard as number, behind: 0n, maxRecords: 10, maxBytes: 1_000 }
    const open = await readOutbox(pool, limits)
    assert.ok(open.horizon < open.nextOffset)
    await writer.commit()
    const ended = await readOutbox(pool, limits)
    assert.equal(ended.horizon, ended.nextOffset)
    assert.equal(ended.records.length, 1)
  })
})

describe('pruning the outbox', () => {
  async function bed(t: TestContext): Promise<{
    readonly pool: pg.Pool
    turn(): Promise<void>
    /** Notes all that is there as relayed. */
    relayed(): Promise<void>
    rows(): Promise<number>
  }> {
    const { pool } = await testDatabase(t)
    await pool.query(
      `insert into millrace.process (id, name, relays, expires_at)
       values ('00000000-0000-0000-0000-000000000001', 'relay', true, 'infinity')`,
    )
    const owner = '00000000-0000-0000-0000-000000000001'
    const held = await takeShards(pool, owner, [0, 1, 2, 3], 600_000)
    return {
      pool,
      turn: () => prune({ core, pool }, { rotate: true }),
      async relayed() {
        for (const shard of held) {
          const last = (await read(pool, shard.shard)).at(-1)
          if (last === undefined) continue
          await noteRelayed(pool, shard, { offset: last.offset, hash: '00', count: 0 })
        }
      },
      async rows() {
        const { rows } = await pool.query<{ n: number }>(
          'select count(*)::integer as n from millrace.outbox_record',
        )
        return rows[0]?.n ?? -1
      },
    }
  }

  it('takes away what is relayed, and nothing else', async (t) => {
    const { pool, turn, relayed, rows } = await bed(t)
    await write(pool, record('a', '1'), record('b', '1'))
    await turn()
    await turn()
    assert.equal(await rows(), 2)
    await relayed()
    await write(pool, record('a', '2'))
    await turn()
    assert.equal(await rows(), 1)
    assert.deepEqual(await readAll(pool), ['2'])
    for (let i = 0; i < 6; i += 1) {
      await write(pool, record('a', 'more'))
      await relayed()
      await turn()
    }
    assert.ok((await rows()) <= 2)
  })

  it('leaves a segment alone while a transaction that wrote to it is open', async (t) => {
    const { pool, turn, relayed, rows } = await bed(t)
    const writer = await begin(t, pool)
    await writer.append(record('a', 'long'))
    await write(pool, record('b', 'short'))
    await relayed()
    await turn()
    await write(pool, record('c', 'later'))
    await turn()
    await writer.commit()
    assert.deepEqual(await readAll(pool), ['later', 'long', 'short'])
    await relayed()
    await turn()
    assert.ok((await rows()) < 3)
  })

  it('keeps a record of a writer that chose its segment before the turn', async (t) => {
    const { pool, turn, relayed } = await bed(t)
    await write(pool, record('a', '1'))
    await turn()
    await relayed()
    await turn()
    // As a writer does it that read the number of the segment, and was slow.
    await pool.query(
      `insert into millrace.outbox_record (shard, "offset", segment, topic, "timestamp")
       values (0, nextval('millrace.outbox_offset'), 0, 'orders', now())`,
    )
    for (let i = 0; i < 4; i += 1) await turn()
    assert.equal((await read(pool, 0)).length, 1)
  })
})

describe('the summary of the outbox', () => {
  it('counts what waits without looking at it, and tells the age of the oldest', async (t) => {
    const { pool } = await testDatabase(t)
    assert.deepEqual(await summarizeOutbox(pool), { ageMs: null, halted: 0, waiting: [] })
    await write(pool, ...Array.from({ length: 10 }, (_, i) => record(`${i}`, 'x')))
    const { ageMs } = await summarizeOutbox(pool)
    assert.ok(ageMs !== null && ageMs >= 0)
    const counts = await readCounts(pool, ['outbox.waiting', 'events.published'])
    assert.deepEqual(
      counts.map(({ metric, label, value }) => [metric, label, value]),
      [
        ['events.published', 'orders', 10],
        ['outbox.waiting', '', 10],
      ],
    )
  })
})
