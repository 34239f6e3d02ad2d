import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { event, type EventDefinition } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import type { LogRecord } from '../../../src/log/port.ts'
import { listOutbox } from '../../../src/outbox/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { createTopicWith } from '../../support/kafka-topics.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { onKafka, readCommitted, relayed } from '../../support/outbox.ts'
import { eventually } from '../../support/wait.ts'

interface Sale {
  readonly n: number
  readonly key: string
}

interface Bed {
  readonly brokers: readonly string[]
  readonly url: string
  readonly pool: pg.Pool
  /** A topic of this test's own. */
  readonly topic: string
  readonly itemSold: EventDefinition<string, Sale, Sale>
}

async function bed(t: TestContext): Promise<Bed> {
  const { brokers } = await sharedKafka()
  const { url, pool } = await testDatabase(t)
  const topic = `sales-${randomUUID()}`
  return { brokers, url, pool, topic, itemSold: sold(topic) }
}

function sold(topic: string): EventDefinition<string, Sale, Sale> {
  return event('ITEM_SOLD', {
    source: 'TILL',
    topic,
    schema: z.object({ n: z.int(), key: z.string() }),
    key: ({ key }) => key,
  })
}

const QUIET = { queues: false, upkeep: false } as const

function numbers(records: readonly { readonly value: string | null }[]): number[] {
  return records.map(({ value }) => (JSON.parse(value ?? 'null') as Sale).n)
}

describe('publishing on Kafka', () => {
  it('brings what a transaction published into the log when it commits, and only then', async (t) => {
    const { brokers, url, topic, itemSold } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 3 } },
      ...QUIET,
    })
    const ids = await millrace.transaction(async (tx) => [
      await tx.publish(itemSold, { n: 1, key: 'a' }),
      ...(await tx.publishMany(itemSold, [
        { n: 2, key: 'a' },
        { n: 3, key: 'b' },
      ])),
    ])
    await assert.rejects(
      millrace.transaction(async (tx) => {
        await tx.publish(itemSold, { n: 4, key: 'a' })
        throw new Error('taken back')
      }),
      /taken back/,
    )
    await relayed(millrace)
    const records = await readCommitted(brokers, topic)
    assert.deepEqual(numbers(records).sort(), [1, 2, 3])
    assert.deepEqual(records.map(({ headers }) => headers['ce_id']).sort(), [...ids].sort())
    assert.deepEqual(numbers(records.filter(({ key }) => key === 'a')), [1, 2])
  })

  it('keeps bytes, headers, times and the partition asked for', async (t) => {
    const { brokers, url, topic } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 4 } },
      ...QUIET,
    })
    const timestamp = new Date('2026-01-02T03:04:05.678Z')
    const headers = [
      ['a', Buffer.from('1')],
      ['empty', Buffer.alloc(0)],
      ['bytes', Buffer.from([0xff, 0xfe])],
    ] as const
    const base = { topic, timestamp, headers, partition: 2 }
    const records = [
      { ...base, key: Buffer.from('k'), value: Buffer.from([0xff, 0]) },
      { ...base, key: null, value: null },
      { ...base, key: Buffer.alloc(0), value: Buffer.alloc(0) },
    ]
    await millrace.transaction((tx) => tx.append(records))
    await relayed(millrace)
    const found = await millrace.log.topic(topic)
    const request = { topic, topicId: found?.id ?? '', partition: 2, offset: 0n }
    const read = await eventually(async () => {
      const [result] = await millrace.log.read([request])
      return result?.records.length === 3 ? result.records : undefined
    })
    const shown = (all: readonly Pick<LogRecord, 'key' | 'value' | 'headers' | 'timestamp'>[]) =>
      new Map(
        all.map(({ key, value, headers: h, timestamp: at }) => [
          key === null ? null : Buffer.from(key).toString(),
          [value, h, at].map((part) => JSON.stringify(part)),
        ]),
      )
    assert.deepEqual(shown(read as readonly LogRecord[]), shown(records))
  })

  it('goes through a client of the caller, found by polling', async (t) => {
    const { brokers, url, pool, topic, itemSold } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 1 } },
      ...QUIET,
    })
    const client = await pool.connect()
    try {
      await client.query('begin')
      await millrace.publish(itemSold, { n: 1, key: 'a' }, { tx: client })
      await client.query('commit')
    } finally {
      client.release()
    }
    await relayed(millrace)
    assert.deepEqual(numbers(await readCommitted(brokers, topic)), [1])
  })

  it('is in the log at once without a transaction, and in the outbox never', async (t) => {
    const { brokers, url, pool, topic, itemSold } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 2 } },
      relay: false,
      ...QUIET,
    })
    await millrace.publish(itemSold, { n: 1, key: 'a' })
    await millrace.publishMany(itemSold, [
      { n: 2, key: 'a' },
      { n: 3, key: 'a' },
    ])
    assert.deepEqual(numbers(await readCommitted(brokers, topic)), [1, 2, 3])
    const { rows } = await pool.query('select 1 from millrace.outbox_record')
    assert.equal(rows.length, 0)
  })

  it('follows the transactions of handlers and jobs', async (t) => {
    const { brokers, url, topic, itemSold } = await bed(t)
    const echoed = `echo-${randomUUID()}`
    const echo = sold(echoed)
    const twice = job('twice', {
      args: z.object({ n: z.int() }),
      async handle({ n }, context) {
        await context.publish(echo, { n: n + 200, key: 'k' })
        if (context.attempt === 1) {
          await context.transaction(async (tx) => {
            await tx.publish(echo, { n: -1, key: 'k' })
            throw new Error('taken back')
          })
        }
        await context.transaction(async (tx) => {
          await tx.publish(echo, { n: n + 100, key: 'k' })
        })
      },
      backoff: { baseMs: 1 },
    })
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 2 }, [echoed]: { partitions: 1 } },
      run: [
        application('echo').on(
          itemSold,
          inTransaction(async ({ data }, { tx }) => {
            await tx.publish(echo, { n: data.n, key: 'k' })
            await tx.insert(twice, { n: data.n })
          }),
        ),
      ],
      jobs: [twice],
    })
    await millrace.transaction((tx) => tx.publish(itemSold, { n: 1, key: 'a' }))
    await eventually(async () => (await millrace.summary()).jobsCompleted === 1)
    await relayed(millrace)
    const records = await readCommitted(brokers, echoed)
    // What was published in no transaction is not taken back by a failed attempt.
    assert.deepEqual(numbers(records).sort(), [1, 101, 201, 201])
  })

  it('stays in the outbox while no process relays, and the summary says how much and how old', async (t) => {
    const { brokers, url, topic, itemSold } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 1 } },
      relay: false,
      ...QUIET,
    })
    await millrace.transaction((tx) => tx.publish(itemSold, { n: 1, key: 'a' }))
    const { outbox, outboxAgeMs, outboxHalted } = await millrace.summary()
    assert.deepEqual([outbox, outboxHalted], [1, 0])
    assert.ok(outboxAgeMs !== null && outboxAgeMs >= 0)
    const second = await onKafka(t, brokers, { database: url, ...QUIET })
    await relayed(second.millrace)
    assert.deepEqual(numbers(await readCommitted(brokers, topic)), [1])
  })
})

describe('the relay', () => {
  it('makes nothing in the log for a database that publishes nothing, and does when it does', async (t) => {
    const { brokers, url, pool, topic, itemSold } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 1 } },
      ...QUIET,
    })
    const opened = async (): Promise<string[]> =>
      (await pool.query<{ id: string }>('select id from millrace.outbox_identity')).rows.map(
        ({ id }) => `millrace.outbox.${id}`,
      )
    await eventually(async () => (await listOutbox(pool)).every(({ owner }) => owner !== null))
    await sleep(500)
    assert.deepEqual(await opened(), [])
    await millrace.transaction((tx) => tx.publish(itemSold, { n: 1, key: 'a' }))
    await relayed(millrace)
    const [cursors] = await opened()
    assert.deepEqual(numbers(await readCommitted(brokers, topic)), [1])
    assert.equal((await readCommitted(brokers, cursors as string)).length, 1)
  })

  it('waits for a topic that is missing, says so, and goes on when it is there', async (t) => {
    const { brokers, url, topic, itemSold } = await bed(t)
    const there = `there-${randomUUID()}`
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [there]: { partitions: 1 } },
      ...QUIET,
    })
    await millrace.transaction((tx) => tx.publish(itemSold, { n: 1, key: 'a' }))
    const { rows } = (await eventually(async () => {
      const found = await millrace.database.query<{ shard: number; waiting: string }>(
        'select shard, waiting from millrace.outbox_shard where waiting is not null',
      )
      return found.rows.length === 1 ? found : undefined
    })) as { rows: { shard: number; waiting: string }[] }
    assert.match(String(rows[0]?.waiting), new RegExp(`no topic '${topic}'`))
    // Other shards are not held up.
    const keys = Array.from({ length: 32 }, (_, i) => ({ n: i, key: `key-${i}` }))
    await millrace.transaction((tx) => tx.publishMany(sold(there), keys))
    await eventually(async () => (await millrace.summary()).outbox < 32)
    await millrace.log.createTopic(topic, { partitions: 1 })
    await relayed(millrace)
    assert.deepEqual(numbers(await readCommitted(brokers, topic)), [1])
    assert.equal((await readCommitted(brokers, there)).length, 32)
    const left = await millrace.database.query(
      'select 1 from millrace.outbox_shard where waiting is not null',
    )
    assert.equal(left.rows.length, 0)
  })

  it('writes smaller batches where a topic takes no large ones, and says which record is too large', async (t) => {
    const { brokers, url, topic, itemSold } = await bed(t)
    const { millrace, lines } = await onKafka(t, brokers, { database: url, ...QUIET })
    await createSmallTopic(brokers, topic)
    const many = Array.from({ length: 500 }, (_, n) => ({ n, key: 'k' }))
    await millrace.transaction((tx) => tx.publishMany(itemSold, many))
    await relayed(millrace)
    const { rows } = await millrace.database.query<{ shard: number }>(
      'select shard from millrace.outbox_shard where relayed is not null',
    )
    assert.equal(rows.length, 1)
    assert.deepEqual(
      numbers(await readCommitted(brokers, topic)),
      many.map(({ n }) => n),
    )
    await millrace.transaction((tx) => tx.publish(itemSold, { n: 1, key: 'k'.repeat(50_000) }))
    await eventually(() =>
      lines.some(({ fields }) => JSON.stringify(fields).includes('E_EVENT_TOO_LARGE')),
    )
    const { outbox, outboxHalted } = await millrace.summary()
    assert.deepEqual([outbox, outboxHalted], [1, 1])
  })

  it('shares the shards with other processes, hands them over when it stops, and keeps the order', async (t) => {
    const { brokers, url, topic, itemSold } = await bed(t)
    const first = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 4 } },
      ...QUIET,
    })
    const second = await onKafka(t, brokers, { database: url, ...QUIET })
    const owners = async (): Promise<Record<string, number>> => {
      const { rows } = await first.millrace.database.query<{ owner: string; n: number }>(
        `select owner::text, count(*)::integer as n from millrace.outbox_shard where owner is not null group by owner`,
      )
      return Object.fromEntries(rows.map(({ owner, n }) => [owner, n]))
    }
    const { processId: a } = first.millrace
    const { processId: b } = second.millrace
    await eventually(async () => {
      const found = await owners()
      return found[a] === 2 && found[b] === 2
    })
    let n = 0
    let writing = true
    const writer = (async () => {
      while (writing) {
        const sales = Array.from({ length: 20 }, (_, i) => ({ n: n + i, key: `key-${i}` }))
        n += 20
        await second.millrace.transaction((tx) => tx.publishMany(itemSold, sales))
      }
    })()
    await eventually(() => n > 200)
    await first.millrace.stop()
    await eventually(async () => (await ownersOf(second.millrace.database))[b] === 4)
    await eventually(() => n > 600)
    writing = false
    await writer
    await relayed(second.millrace)
    const records = await readCommitted(brokers, topic)
    assert.equal(records.length, n)
    for (let i = 0; i < 20; i += 1) {
      const seen = numbers(records.filter(({ key }) => key === `key-${i}`))
      assert.deepEqual(
        seen,
        seen.toSorted((x, y) => x - y),
      )
    }
  })

  it('loses nothing of a long transaction, and keeps the order behind it', async (t) => {
    const { brokers, url, pool, topic, itemSold } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 1 } },
      ...QUIET,
    })
    const client = await pool.connect()
    cleanup(t, async () => Promise.resolve(client.release(true)))
    await client.query('begin')
    await millrace.publish(itemSold, { n: 1, key: 'a' }, { tx: client })
    for (let n = 2; n <= 50; n += 1) {
      await millrace.transaction((tx) => tx.publish(itemSold, { n, key: 'a' }))
    }
    await millrace.publish(itemSold, { n: 51, key: 'a' }, { tx: client })
    assert.equal((await millrace.summary()).outbox, 49)
    await client.query('commit')
    await relayed(millrace)
    const order = numbers(await readCommitted(brokers, topic))
    assert.deepEqual(
      order,
      Array.from({ length: 51 }, (_, i) => i + 1),
    )
  })

  it('keeps the order when the number of shards is changed under load', async (t) => {
    const { brokers, url, topic, itemSold } = await bed(t)
    const { millrace } = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 4 } },
      ...QUIET,
    })
    let n = 0
    const write = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 1) {
        const sales = Array.from({ length: 10 }, (_, k) => ({ n, key: `key-${k}` }))
        n += 1
        await millrace.transaction((tx) => tx.publishMany(itemSold, sales))
      }
    }
    await write(20)
    const more = write(60)
    const other = await onKafka(t, brokers, { database: url, outboxShards: 7, ...QUIET })
    await more
    await write(20)
    await relayed(other.millrace)
    const { rows } = await millrace.database.query<{ shard: number }>(
      'select shard from millrace.outbox_shard where not retired order by shard',
    )
    assert.deepEqual(
      rows.map(({ shard }) => shard),
      [4, 5, 6, 7, 8, 9, 10],
    )
    const records = await readCommitted(brokers, topic)
    for (let k = 0; k < 10; k += 1) {
      assert.deepEqual(
        numbers(records.filter(({ key }) => key === `key-${k}`)),
        Array.from({ length: n }, (_, i) => i),
      )
    }
  })

  it('keeps the order when the number of shards is changed twice over a backlog', async (t) => {
    const { brokers, url, pool, topic, itemSold } = await bed(t)
    const first = await onKafka(t, brokers, {
      database: url,
      topics: { [topic]: { partitions: 1 } },
      relay: false,
      ...QUIET,
    })
    const keys = Array.from({ length: 20 }, (_, k) => `key-${k}`)
    const publish = (n: number): Promise<string[]> =>
      first.millrace.transaction((tx) =>
        tx.publishMany(
          itemSold,
          keys.map((key) => ({ n, key })),
        ),
      )
    // Holds back one shard of the first layout.
    const client = await pool.connect()
    cleanup(t, async () => Promise.resolve(client.release(true)))
    await client.query('begin')
    await first.millrace.publish(itemSold, { n: 1, key: 'key-0' }, { tx: client })
    await publish(2)
    await onKafka(t, brokers, { database: url, outboxShards: 8, relay: false, ...QUIET })
    await publish(3)
    await onKafka(t, brokers, { database: url, outboxShards: 3, relay: false, ...QUIET })
    await publish(4)
    const relay = await onKafka(t, brokers, { database: url, ...QUIET })
    await eventually(async () => {
      const { rows } = await pool.query<{ n: number }>(
        'select count(*)::integer as n from millrace.outbox_shard where shard < 4 and retired',
      )
      return rows[0]?.n === 3
    })
    await client.query('commit')
    await relayed(relay.millrace)
    const records = await readCommitted(brokers, topic)
    for (const key of keys) {
      assert.deepEqual(
        numbers(records.filter((record) => record.key === key)),
        key === 'key-0' ? [1, 2, 3, 4] : [2, 3, 4],
      )
    }
  })
})

async function ownersOf(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ owner: string; n: number }>(
    `select owner::text, count(*)::integer as n from millrace.outbox_shard where owner is not null group by owner`,
  )
  return Object.fromEntries(rows.map(({ owner, n }) => [owner, n]))
}

/** A topic that takes batches of 20 kB. */
function createSmallTopic(brokers: readonly string[], topic: string): Promise<void> {
  return createTopicWith(brokers, topic, { 'max.message.bytes': '20000' })
}
