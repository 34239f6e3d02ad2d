import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { Header } from '../../../src/events/raw-record.ts'
import type { LogRecord, NewRecord } from '../../../src/log/port.ts'
import { type MakeHarness, readAll, readOnce, record, valueOf } from './harness.ts'

const plain = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString('hex')

function contentsOf({ key, value, headers }: NewRecord | LogRecord): unknown {
  return { key: plain(key), value: plain(value), headers: headers.map(([n, v]) => [n, plain(v)]) }
}

/** Registers the tests of what a record holds and where it goes. */
export function contentsConformance(makeHarness: MakeHarness): void {
  test('offsets grow in the order of appending', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    const offsets: bigint[] = []
    for (let batch = 0; batch < 4; batch += 1) {
      const values = Array.from({ length: 5 }, (_, n) => record('orders', `${batch}/${n}`))
      for (const { topicId, partition, offset } of await log.append(values)) {
        assert.deepEqual([topicId, partition], [topic.id, 0])
        assert.ok(offset > (offsets.at(-1) ?? -1n))
        offsets.push(offset)
      }
    }
    const records = await readAll(log, topic, 20)
    assert.deepEqual(
      records.map((one) => one.offset),
      offsets,
    )
    assert.deepEqual(
      records.map(valueOf),
      Array.from({ length: 20 }, (_, n) => `${Math.floor(n / 5)}/${n % 5}`),
    )
  })

  test('a key has one partition, the one that any producer of Kafka chooses', async (t) => {
    const { log, peer } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 7 })
    const keys = ['21', 'foobar', 'a-little-bit-long-string', 'abc']
    const all = keys.map((key) => record('orders', key, { key: Buffer.from(key) }))
    const partitions = (await log.append(all)).map(({ partition }) => partition)
    // murmur2 as in Kafka's own test, made positive, modulo 7
    const hashes = [-973_932_308, -790_332_482, -985_981_536, 479_470_107]
    assert.deepEqual(
      partitions,
      hashes.map((hash) => (hash & 0x7fffffff) % 7),
    )
    assert.deepEqual(
      (await peer.append(all)).map(({ partition }) => partition),
      partitions,
    )
    const places = new Map(
      (await readAll(log, topic, 8)).map((one) => [valueOf(one), one.partition]),
    )
    assert.deepEqual(
      [...places.keys()].map((key) => partitions[keys.indexOf(key)]),
      [...places.values()],
    )
  })

  test('records without a key reach every partition', async (t) => {
    const { log } = await makeHarness(t)
    await log.createTopic('orders', { partitions: 3 })
    const many = Array.from({ length: 300 }, (_, n) => record('orders', String(n)))
    const partitions = (await log.append(many)).map(({ partition }) => partition)
    assert.deepEqual([...new Set(partitions)].sort(), [0, 1, 2])
  })

  test('a record goes to the partition that it names', async (t) => {
    const { log } = await makeHarness(t)
    await log.createTopic('orders', { partitions: 3 })
    const [appended] = await log.append([
      record('orders', 'x', { partition: 2, key: Buffer.from('21') }),
    ])
    assert.equal(appended?.partition, 2)
  })

  test('one append reaches several topics and partitions and answers in its order', async (t) => {
    const { log } = await makeHarness(t)
    const orders = await log.createTopic('orders', { partitions: 2 })
    const films = await log.createTopic('films', { partitions: 1 })
    const appended = await log.append([
      record('films', 'f'),
      record('orders', 'o1', { partition: 1 }),
      record('orders', 'o0', { partition: 0 }),
      record('films', 'g'),
    ])
    assert.deepEqual(
      appended.map(({ topicId, partition }) => [topicId, partition]),
      [
        [films.id, 0],
        [orders.id, 1],
        [orders.id, 0],
        [films.id, 0],
      ],
    )
    assert.deepEqual((await readAll(log, films, 2)).map(valueOf), ['f', 'g'])
    assert.deepEqual((await readAll(log, orders, 2)).map(valueOf), ['o0', 'o1'])
  })

  test('keys, values and headers are kept byte for byte', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    const every = Uint8Array.from({ length: 256 }, (_, n) => n)
    const headers: Header[] = [
      ['b', Buffer.from('1')],
      ['a', null],
      ['b', new Uint8Array(0)],
      ['b', every],
      ['', Buffer.from('{"base64":"AA=="}')],
      ['Größe "\\ \u0001', Buffer.from('\uFEFF\u0000😀')],
    ]
    const contents: [Uint8Array | null, Uint8Array | null][] = [
      [null, null],
      [null, new Uint8Array(0)],
      [new Uint8Array(0), null],
      [every, every],
      [Buffer.from('NULL'), Buffer.from('"{},\\')],
    ]
    const written = contents.flatMap(([key, value]): NewRecord[] => [
      { topic: 'orders', key, value, headers: [] },
      { topic: 'orders', key, value, headers },
    ])
    await log.append(written)
    assert.deepEqual((await readAll(log, topic, 10)).map(contentsOf), written.map(contentsOf))
  })

  test('a value of a megabyte and 300 headers are kept', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    const headers = Array.from({ length: 300 }, (_, n): Header => [`h-${n % 100}`, randomBytes(8)])
    const large = { topic: 'orders', key: randomBytes(100), value: randomBytes(1_000_000), headers }
    await log.append([large])
    const [read] = await readAll(log, topic, 1)
    assert.deepEqual(read === undefined ? undefined : contentsOf(read), contentsOf(large))
  })

  test('a record has the timestamp it was given, or that of its writing', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    const given = ['1970-01-01T00:00:00.000Z', '2026-11-22T20:15:00.123Z'].map((at) => new Date(at))
    const before = Date.now()
    await log.append([
      ...given.map((timestamp) => record('orders', 'given', { timestamp })),
      record('orders', 'not given'),
    ])
    const after = Date.now()
    const times = (await readAll(log, topic, 3)).map(({ timestamp }) => timestamp)
    assert.deepEqual(times.slice(0, 2), given)
    const own = times[2]?.getTime() ?? 0
    assert.ok(own >= before - 1_000 && own <= after + 1_000)
    const bad = record('orders', 'x', { timestamp: new Date(Number.NaN) })
    await assert.rejects(log.append([bad]), {
      code: 'E_CONFIG_INVALID',
      message: /records\[0\]\.timestamp/,
    })
  })

  test('a record that was read says where it is', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 2 })
    const [appended] = await log.append([record('orders', 'x', { partition: 1 })])
    await readAll(log, topic, 1)
    const { records } = await readOnce(log, topic, { partition: 1 })
    const { topic: name, topicId, partition, offset } = records[0] as LogRecord
    assert.equal(name, 'orders')
    assert.deepEqual({ topicId, partition, offset }, appended)
  })
}
