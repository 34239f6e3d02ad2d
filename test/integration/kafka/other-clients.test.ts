import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import test, { describe, it, type TestContext } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { createCore } from '../../../src/core/core.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { encodeEvent } from '../../../src/events/encode.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import type { Log, Topic } from '../../../src/log/port.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { javaConsume, javaProduce } from '../../support/java-peer.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { readToEnd, values } from '../../support/kafka-reading.ts'
import { kafkajsConsume, kafkajsProduce } from '../../support/kafkajs-peer.ts'
import { running, settled } from '../../support/millrace.ts'

const core = createCore()

/** A topic of one test on the shared broker. */
async function setup(
  t: TestContext,
  partitions: number,
): Promise<{ brokers: readonly string[]; log: Log; topic: string; topicId: string }> {
  const { brokers } = await sharedKafka()
  const log = await kafkaLog(t, { brokers })
  const topic = `peers-${randomBytes(6).toString('hex')}`
  const { id: topicId } = await log.createTopic(topic, { partitions })
  cleanup(t, () => log.deleteTopic(topic))
  return { brokers, log, topic, topicId }
}

/** Texts that compress well and are of no use to who mixes up their blocks. */
function longTexts(name: string): string[] {
  const random = seededRandom(7)
  const piece = (): string =>
    `${Math.floor(random.next() * 2 ** 31).toString(16)} the same text again `
  const text = (n: number, pieces: number): string =>
    `${name} ${n} ${Array.from({ length: pieces }, piece).join('')}`
  return Array.from({ length: 600 }, (_, n) => text(n, n % 100 === 7 ? 6_000 : 30))
}

for (const compression of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
  test(`what the Java client has compressed with ${compression} is read, and it reads what we have`, async (t) => {
    const { brokers, log, topic } = await setup(t, 1)
    const theirs = longTexts('theirs')
    const records = theirs.map((value) => ({ topic, key: null, value }))
    await javaProduce(t, brokers, records, compression)
    const own = await kafkaLog(t, { brokers }, { compression })
    const ours = longTexts('ours')
    await own.append(
      ours.map((text) => ({ topic, key: null, value: Buffer.from(text), headers: [] })),
    )
    const found = (await log.topic(topic)) as Topic
    const { records: read } = await readToEnd(log, found)
    const all = [...theirs, ...ours]
    assert.deepEqual(values(read), all)
    const seen = await javaConsume(t, brokers, topic, all.length)
    assert.deepEqual(
      seen.map(({ value }) => value),
      all,
    )
  })
}

describe('records of other clients', () => {
  it('are mapped to events, with and without headers, whoever has written them', async (t) => {
    const { brokers, topic, topicId } = await setup(t, 1)
    const { url, pool } = await testDatabase(t)
    await pool.query('create table seen (place int primary key, event jsonb)')
    const film = foreign(topic, {
      schema: z.object({ Title: z.string(), Year: z.string() }),
      key: (data) => data.Title,
      map: ({ Title, Year }) => ({ title: Title, year: Number(Year) }),
    })
    const catalogue = application('catalogue').on(
      film,
      inTransaction(async ({ type, source, key, time, data }, { tx, record }) => {
        const seen = { type, source, key, time: time.getTime(), data }
        await tx.query('insert into seen values ($1, $2)', [Number(record.offset), seen])
      }),
    )
    const title = (Title: string): string => JSON.stringify({ Title, Year: '1927' })
    const timestamp = '1700000000000'
    await kafkajsProduce(brokers, topic, [
      { value: title('Metropolis'), timestamp },
      { key: 'k', value: title('Sunrise ☀'), timestamp, headers: { till: '7', tag: ['a', 'b'] } },
    ])
    await javaProduce(t, brokers, [
      { topic, key: null, value: title('Wings') },
      {
        topic,
        key: 'ключ',
        value: title('Underworld'),
        headers: [
          ['tag', 'x'],
          ['tag', null],
        ],
      },
      { topic, key: 'k', value: '{"Title":"cut' },
      { topic, key: 'k', value: null },
    ])
    const millrace = await running(t, {
      database: url,
      log: kafka({ brokers }),
      run: [catalogue],
    })
    await settled(millrace)
    const { rows } = await pool.query<{ place: number; event: Record<string, unknown> }>(
      'select place, event from seen order by place',
    )
    const common = { type: `FOREIGN:${topic}`, source: topic }
    assert.deepEqual(
      rows.map(({ place, event: { time: _, ...rest } }) => ({ place, ...rest })),
      ['Metropolis', 'Sunrise ☀', 'Wings', 'Underworld'].map((name, place) => ({
        place,
        ...common,
        key: name,
        data: { title: name, year: 1927 },
      })),
    )
    assert.deepEqual(
      rows.slice(0, 2).map((row) => row.event['time']),
      [1_700_000_000_000, 1_700_000_000_000],
    )
    const { filtered, deadLetters } = await millrace.summary()
    assert.deepEqual({ filtered, deadLetters }, { filtered: 1, deadLetters: 1 })
    const [letter] = await listDeadLetters(pool, {})
    assert.deepEqual([letter?.topic, letter?.offset], [topic, 4n])
    assert.equal(typeof topicId, 'string')
  })

  it('are events of ours when they are CloudEvents in binary mode', async (t) => {
    const { brokers, topic } = await setup(t, 1)
    const { url, pool } = await testDatabase(t)
    await pool.query('create table seen (id text primary key, event jsonb)')
    const paid = event('com.example.paid', {
      source: 'billing',
      topic,
      schema: z.object({ cents: z.int() }),
    })
    const books = application('books').on(
      paid,
      inTransaction(async ({ id, source, time, version, data }, { tx }) => {
        const seen = { source, time: time.toISOString(), version, data }
        await tx.query('insert into seen values ($1, $2)', [id, seen])
      }),
    )
    const headers = {
      ce_specversion: '1.0',
      ce_type: 'com.example.paid',
      ce_source: '/somebody/else',
      ce_id: 'A-1',
      ce_time: '2026-01-02T03:04:05.678+01:00',
      'content-type': 'application/json; charset=utf-8',
    }
    await kafkajsProduce(brokers, topic, [{ value: '{"cents":790}', headers }])
    const millrace = await running(t, { database: url, log: kafka({ brokers }), run: [books] })
    await settled(millrace)
    const { rows } = await pool.query('select * from seen')
    const seen = {
      source: '/somebody/else',
      time: '2026-01-02T02:04:05.678Z',
      version: 1,
      data: { cents: 790 },
    }
    assert.deepEqual(rows, [{ id: 'A-1', event: seen }])
  })
})

describe('what we write', () => {
  const itemSold = (topic: string) =>
    event('ITEM_SOLD', {
      source: 'ORDER_SERVICE',
      topic,
      version: 1,
      schema: z.object({ orderId: z.string(), item: z.string() }),
      key: (data) => data.orderId,
    })

  it('is read by KafkaJS and the Java SDK as CloudEvents in binary mode', async (t) => {
    const { brokers, log, topic } = await setup(t, 1)
    const data = { orderId: 'o-1', item: 'Köfte 🥙' }
    const time = new Date('2026-01-02T03:04:05.678Z')
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const about = { id: 'e-1', time, correlationId: 'c-1', causationId: 'b-1', traceparent }
    const encoded = await encodeEvent(core, itemSold(topic), data, about)
    await log.append([encoded])

    const [java] = await javaConsume(t, brokers, topic, 1)
    assert.equal(java?.problem, undefined)
    assert.deepEqual(java?.cloudEvent, {
      encoding: 'BINARY',
      specversion: '1.0',
      id: 'e-1',
      type: 'ITEM_SOLD',
      source: 'ORDER_SERVICE',
      time: time.getTime(),
      datacontenttype: 'application/json',
      dataversion: '1',
      correlationid: 'c-1',
      causationid: 'b-1',
    })
    assert.equal(java.key, 'o-1')
    assert.deepEqual(JSON.parse(java.value ?? ''), data)

    const [kafkajs] = await kafkajsConsume(t, brokers, topic, 1)
    assert.equal(kafkajs?.key?.toString(), 'o-1')
    assert.deepEqual(JSON.parse(kafkajs.value?.toString() ?? ''), data)
    assert.equal(kafkajs.timestamp, String(time.getTime()))
    const headers = Object.entries(kafkajs.headers ?? {}).map(([name, value]) => [
      name,
      String(value),
    ])
    assert.deepEqual(Object.fromEntries(headers), {
      ce_specversion: '1.0',
      ce_id: 'e-1',
      ce_type: 'ITEM_SOLD',
      ce_source: 'ORDER_SERVICE',
      ce_time: '2026-01-02T03:04:05.678Z',
      'content-type': 'application/json',
      ce_dataversion: '1',
      ce_correlationid: 'c-1',
      ce_causationid: 'b-1',
      traceparent,
    })
  })

  it('goes to the partition that the other clients choose for its key', async (t) => {
    const { brokers, log, topic, topicId } = await setup(t, 5)
    const keys = [
      '',
      'a',
      'order-17',
      'ключ',
      '🥙',
      ...Array.from({ length: 25 }, (_, i) => `key ${i * i}`),
    ]
    const ours = await log.append(
      keys.map((key) => ({
        topic,
        key: Buffer.from(key),
        value: Buffer.from('ours'),
        headers: [],
      })),
    )
    const java = await javaProduce(
      t,
      brokers,
      keys.map((key) => ({ topic, key, value: 'java' })),
    )
    await kafkajsProduce(
      brokers,
      topic,
      keys.map((key) => ({ key, value: 'kafkajs' })),
    )
    const places = new Map<string, Set<number>>(keys.map((key) => [key, new Set()]))
    const requests = Array.from({ length: 5 }, (_, partition) => ({
      topicId,
      topic,
      partition,
      offset: 0n,
    }))
    const results = await log.read(requests)
    const records = results.flatMap((result) => result.records)
    assert.equal(records.length, 3 * keys.length)
    for (const { key, partition } of records) {
      places.get(Buffer.from(key ?? []).toString())?.add(partition)
    }
    for (const [key, found] of places) assert.equal(found.size, 1, `key '${key}'`)
    assert.deepEqual(
      ours.map(({ partition }) => partition),
      java.map(({ partition }) => partition),
    )
  })
})
