import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Admin, Producer } from '@platformatic/kafka'
import type { Log, LogRecord, NewRecord, Topic } from '../../../src/log/port.ts'
import { cleanup, type TestScope } from '../../support/cleanup.ts'
import { flipBytes } from '../../support/flip-bytes.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { freshTopic, readToEnd, values } from '../../support/kafka-reading.ts'
import { sharedKafka, testKafka, type SharedKafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'

function record(topic: Topic, value: string, parts: Partial<NewRecord> = {}): NewRecord {
  return { topic: topic.name, key: null, value: Buffer.from(value), headers: [], ...parts }
}

const texts = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => `${prefix}${n}`)

/** A producer of the client library that writes in transactions. */
function transactional(t: TestScope, { brokers }: SharedKafka, transactionalId: string): Producer {
  const producer: Producer = new Producer({
    clientId: 'other',
    bootstrapBrokers: [...brokers],
    idempotent: true,
    transactionalId,
    producerId: -1n,
    producerEpoch: -1,
    retryDelay: 10,
  })
  cleanup(t, async () => producer.close())
  return producer
}

async function inTransaction(
  producer: Producer,
  topic: Topic,
  some: readonly string[],
  end: 'commit' | 'abort',
): Promise<void> {
  const tx = await producer.beginTransaction()
  for (let at = 0; at < some.length; at += 100) {
    const messages = some
      .slice(at, at + 100)
      .map((value) => ({ topic: topic.name, partition: 0, value: Buffer.from(value) }))
    await tx.send({ messages })
  }
  await tx[end]()
}

test('of five transactions of one producer in one fetch, the committed ones are given', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster)
  const topic = await freshTopic(log, 'two-aborts')
  const producer = transactional(t, cluster, 'two-aborts')
  for (const [name, end] of [
    ['a', 'abort'],
    ['b', 'commit'],
    ['c', 'abort'],
    ['d', 'commit'],
    ['e', 'abort'],
  ] as const) {
    await inTransaction(producer, topic, texts(name, 10), end)
  }
  // The markers and what was aborted are stepped over.
  await eventually(async () => (await readToEnd(log, topic)).next === 55n)
  const { records } = await readToEnd(log, topic)
  assert.deepEqual(values(records), [...texts('b', 10), ...texts('d', 10)])
})

test('of an aborted transaction larger than a fetch nothing is given', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster)
  const topic = await freshTopic(log, 'large-abort')
  const producer = transactional(t, cluster, 'large-abort')
  await log.append([record(topic, 'before')])
  const large = texts('x'.repeat(2_000), 2_000)
  await inTransaction(producer, topic, large, 'abort')
  await log.append([record(topic, 'after')])
  const { records } = await readToEnd(log, topic)
  assert.deepEqual(values(records), ['before', 'after'])
})

test('what an open transaction may still take back is not given, nor what comes behind it', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster)
  const topic = await freshTopic(log, 'open-transaction')
  await log.append([record(topic, 'before')])
  const producer = transactional(t, cluster, 'open-transaction')
  const tx = await producer.beginTransaction()
  await tx.send({ messages: [{ topic: topic.name, partition: 0, value: Buffer.from('open') }] })
  await log.append([record(topic, 'after')])
  assert.deepEqual(values((await readToEnd(log, topic)).records), ['before'])
  const [range] = await log.offsets(topic.id)
  assert.deepEqual([range?.end, range?.appendOffset], [1n, 3n])
  await tx.commit()
  const all = await eventually(async () => {
    const { records } = await readToEnd(log, topic)
    return records.length === 3 ? values(records) : undefined
  })
  assert.deepEqual(all, ['before', 'open', 'after'])
})

test('every compression of another client is read, and ours by another reader', async (t) => {
  const cluster = await sharedKafka()
  const plain = await kafkaLog(t, cluster)
  const topic = await freshTopic(plain, 'compressions')
  const expected: string[] = []
  for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const producer = new Producer({
      clientId: 'other',
      bootstrapBrokers: [...cluster.brokers],
      compression,
    })
    const theirs = texts(`theirs ${compression} `.repeat(20), 500)
    await producer.send({
      messages: theirs.map((value) => ({
        topic: topic.name,
        partition: 0,
        value: Buffer.from(value),
      })),
    })
    await producer.close()
    const log = await kafkaLog(t, cluster, { compression })
    const ours = texts(`ours ${compression} `.repeat(20), 500)
    await log.append(ours.map((value) => record(topic, value)))
    expected.push(...theirs, ...ours)
  }
  const { records } = await readToEnd(plain, topic)
  assert.deepEqual(values(records), expected)
})

test('the broker’s time is given where the topic says so', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster, {
    topicConfigs: { 'message.timestamp.type': 'LogAppendTime' },
  })
  const topic = await freshTopic(log, 'append-time')
  const before = Date.now() - 1_000
  await log.append([record(topic, 'x', { timestamp: new Date('2001-01-01') })])
  const { records } = await readToEnd(log, topic)
  const at = records[0]?.timestamp.getTime() ?? 0
  assert.ok(at >= before && at <= Date.now() + 1_000, String(at))
})

test('holes that compaction left are stepped over', async (t) => {
  const cluster = await testKafka(t, { properties: { 'log.cleaner.backoff.ms': 100 } })
  const log = await kafkaLog(t, cluster, {
    topicConfigs: {
      'cleanup.policy': 'compact',
      'min.cleanable.dirty.ratio': '0.01',
      'segment.ms': '200',
    },
  })
  const topic = await log.createTopic('compacted', { partitions: 1 })
  await log.append([record(topic, 'kept', { key: Buffer.from('kept') })])
  let written = 1
  const records = (await eventually(async () => {
    const some = Array.from({ length: 50 }, (_, n) => `${(written += 1)} of key ${n % 3}`)
    await log.append(
      some.map((value, n) => record(topic, value, { key: Buffer.from(`key ${n % 3}`) })),
    )
    const read = await readToEnd(log, topic)
    assert.equal(read.next, BigInt(written))
    return read.records.length < written ? read.records : undefined
  })) as LogRecord[]
  assert.equal(values(records)[0], 'kept')
  assert.deepEqual(values(records).slice(-2), [
    `${written - 1} of key ${48 % 3}`,
    `${written} of key ${49 % 3}`,
  ])
  const offsets = records.map(({ offset }) => offset)
  assert.deepEqual(
    offsets,
    offsets.toSorted((a, b) => (a < b ? -1 : 1)),
  )
  // From within a hole; by somebody who has not kept what was there before.
  const hole = offsets.findIndex((offset, n) => n > 0 && offset > (offsets[n - 1] as bigint) + 1n)
  const from = (offsets[hole] as bigint) - 1n
  const rest = await readToEnd(await kafkaLog(t, cluster), topic, from)
  assert.ok((rest.records[0]?.offset ?? 0n) >= (offsets[hole] as bigint))
})

test('records larger than a fetch are given, in several partitions at once', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster, {
    topicConfigs: { 'max.message.bytes': '20000000' },
  })
  const topic = await freshTopic(log, 'large-records', 3)
  const large = (n: number): Buffer => Buffer.alloc(3_000_000, n + 1)
  for (const n of [0, 1, 2, 3, 4, 5]) {
    await log.append([record(topic, '', { value: large(n), partition: n % 3 })])
  }
  const peer = await kafkaLog(t, cluster, { maxBufferedBytes: 1_048_576 })
  for (const reader of [log, peer]) {
    for (const partition of [0, 1, 2]) {
      const { records } = await readToEnd(reader, topic, 0n, partition)
      assert.deepEqual(
        records.map(({ value }) => value),
        [large(partition), large(partition + 3)],
      )
    }
  }
})

test('a reader who seeks while something is on its way gets what is at the new place', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster)
  const topic = await freshTopic(log, 'seeking')
  await log.append(texts('v', 50).map((value) => record(topic, value)))
  const request = { topic: topic.name, topicId: topic.id, partition: 0, maxRecords: 1 }
  const look = async (offset: bigint): Promise<string | undefined> => {
    const [result] = await log.read([{ ...request, offset }], { wait: false })
    assert.deepEqual(
      [result?.outOfRange, result?.corrupt, result?.unavailable],
      [undefined, undefined, undefined],
    )
    return result?.records[0] === undefined ? undefined : values(result.records)[0]
  }
  // The end is watched; a record comes; and places before it are wanted at the same time, again and again.
  for (let round = 0; round < 20; round += 1) {
    const end = BigInt(50 + round)
    assert.equal(await look(end), undefined)
    const appending = log.append([record(topic, `v${end}`)])
    for (const offset of [BigInt(round), end, BigInt(49 - round), end]) {
      assert.equal(await eventually(() => look(offset), { intervalMs: 1 }), `v${offset}`)
    }
    await appending
  }
})

test('partitions that are added are found, read, and written to by key', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster)
  const topic = await freshTopic(log, 'growing', 1)
  const keys = texts('key ', 30).map((key) => Buffer.from(key))
  await log.append(keys.map((key) => record(topic, 'one', { key })))
  const admin = new Admin({ clientId: 'admin', bootstrapBrokers: [...cluster.brokers] })
  cleanup(t, async () => admin.close())
  await admin.createPartitions({ topics: [{ name: topic.name, count: 4 }] })
  const grown = (await eventually(async () => {
    const now = await log.topic(topic.name)
    return now?.partitions === 4 ? now : undefined
  })) as Topic
  assert.equal(grown.id, topic.id)
  const appended = await eventually(async () =>
    log.append(keys.map((key) => record(topic, 'two', { key }))),
  )
  assert.deepEqual([...new Set(appended.map(({ partition }) => partition))].sort(), [0, 1, 2, 3])
  let read = 0
  for (const partition of [0, 1, 2, 3]) {
    read += (await readToEnd(log, grown, 0n, partition)).records.length
  }
  assert.equal(read, 60)
})

test('a byte that was flipped on disk is never given, and what stands before it is', async (t) => {
  const cluster = await testKafka(t)
  const log = await kafkaLog(t, cluster)
  const topic = await log.createTopic('flipped', { partitions: 2 })
  await log.append([record(topic, 'good', { partition: 0 })])
  await log.append([record(topic, 'amount=100', { partition: 0 })])
  await log.append([record(topic, 'later', { partition: 0 })])
  await log.append([record(topic, 'other', { partition: 1 })])
  await flipBytes(cluster, 'flipped-0', 'amount=100', 'amount=900')

  const at = (offset: bigint, partition = 0): Parameters<Log['read']>[0][number] => ({
    topic: topic.name,
    topicId: topic.id,
    partition,
    offset,
  })
  const [first, other] = await log.read([at(0n), at(0n, 1)])
  assert.deepEqual([values(first?.records ?? []), first?.nextOffset], [['good'], 1n])
  assert.deepEqual(values(other?.records ?? []), ['other'])
  const [stopped] = await log.read([at(1n)])
  assert.deepEqual([stopped?.records, stopped?.nextOffset], [[], 1n])
  assert.match(stopped?.corrupt?.reason ?? '', /batch at offset 1 cannot be read: its checksum/)
  // Whoever decides to go on behind it can.
  assert.deepEqual(values((await readToEnd(log, topic, 2n)).records), ['later'])
})

test('two readers of one partition at different places get all of it', async (t) => {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster, { maxBufferedBytes: 1_048_576 })
  const topic = await freshTopic(log, 'two-readers')
  const all = texts('x'.repeat(1_000), 4_000)
  for (let at = 0; at < all.length; at += 500) {
    await log.append(all.slice(at, at + 500).map((value) => record(topic, value)))
  }
  const readers = [0, 1_500].map((from) => ({ next: BigInt(from), from, got: [] as LogRecord[] }))
  await eventually(
    async () => {
      const results = await log.read(
        readers.map(({ next }) => ({
          topic: topic.name,
          topicId: topic.id,
          partition: 0,
          offset: next,
          maxRecords: 100,
        })),
        { wait: false },
      )
      for (const [index, reader] of readers.entries()) {
        reader.got.push(...(results[index]?.records ?? []))
        reader.next = results[index]?.nextOffset ?? reader.next
      }
      return readers.every(({ next }) => next === 4_000n)
    },
    { intervalMs: 1 },
  )
  for (const { from, got } of readers) assert.deepEqual(values(got), all.slice(from))
})
