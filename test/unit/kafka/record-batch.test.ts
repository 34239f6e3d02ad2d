import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { CODECS } from '../../../src/kafka/codecs.ts'
import { recordSize, writeBatch } from '../../../src/kafka/record-batch-writer.ts'
import { Segment } from '../../../src/kafka/segment.ts'
import type { LogRecord, NewRecord } from '../../../src/log/port.ts'
import { batch, marker, now, readAll, room, sealed, seen } from './batches.ts'

const bytes = fc.option(fc.uint8Array({ maxLength: 300 }), { nil: null })
const name = fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => text.isWellFormed())
const record: fc.Arbitrary<NewRecord> = fc.record({
  topic: fc.constant('t'),
  key: bytes,
  value: bytes,
  headers: fc.array(fc.tuple(name, bytes), { maxLength: 4 }),
  timestamp: fc.date({
    min: new Date(0),
    max: new Date('9999-12-31T23:59:59.999Z'),
    noInvalidDate: true,
  }),
})

function contents({ key, value, headers, timestamp }: NewRecord | LogRecord): unknown {
  const hex = (some: Uint8Array | null): string | null =>
    some === null ? null : Buffer.from(some).toString('hex')
  return [hex(key), hex(value), headers.map(([n, v]) => [n, hex(v)]), timestamp?.getTime()]
}

test('a batch that was written is read again, in every compression', () => {
  fc.assert(
    fc.property(
      fc.array(record, { minLength: 1, maxLength: 20 }),
      fc.constantFrom(...CODECS),
      fc.bigInt({ min: 0n, max: 2n ** 62n }),
      (records, compression, offset) => {
        const written = batch(records, { compression, offset })
        const read = readAll(written, { from: offset })
        assert.deepEqual(read.records.map(contents), records.map(contents))
        assert.deepEqual(
          read.records.map((one) => one.offset),
          records.map((_, index) => offset + BigInt(index)),
        )
        assert.deepEqual([read.next, read.corrupt], [offset + BigInt(records.length), undefined])
        const room = records.reduce((sum, one) => sum + recordSize(one), 61)
        const plain = writeBatch(records, now, 'none', { producerId: 1n, epoch: 2, sequence: 3 })
        assert.ok(plain.length <= room, 'the size of a record is never guessed too low')
      },
    ),
  )
})

test('null is not the empty value, and headers keep their order and doubles', () => {
  const headers = [
    ['a', Buffer.from('1')],
    ['b', null],
    ['a', Buffer.alloc(0)],
  ] as const
  const written: NewRecord[] = [
    { topic: 't', key: null, value: Buffer.alloc(0), headers },
    { topic: 't', key: Buffer.alloc(0), value: null, headers: [] },
  ]
  const [one, other] = readAll(batch(written)).records
  assert.deepEqual([one?.key, one?.value?.length], [null, 0])
  assert.deepEqual([other?.key?.length, other?.value], [0, null])
  assert.deepEqual(
    one?.headers.map(([n, v]) => [n, v?.toString() ?? null]),
    [
      ['a', '1'],
      ['b', null],
      ['a', ''],
    ],
  )
})

test('the broker’s time counts where the topic says so', () => {
  const at = Date.UTC(2030, 0, 1)
  const [plain] = readAll(batch(['x'])).records
  assert.equal(plain?.timestamp.getTime(), now)
  const [stamped] = readAll(batch(['x'], { attributes: 0b1000, maxTimestamp: at })).records
  assert.equal(stamped?.timestamp.getTime(), at)
})

test('times that no calendar has are given as the nearest it has', () => {
  const early = batch(['x'])
  early.writeBigInt64BE(-1n, 27)
  const late = batch(['x'])
  late.writeBigInt64BE(2n ** 62n, 27)
  assert.equal(readAll(sealed(early)).records[0]?.timestamp.getTime(), 0)
  assert.equal(readAll(sealed(late)).records[0]?.timestamp.toISOString().slice(0, 4), '9999')
})

test('records below the offset asked for are left out', () => {
  const read = readAll(batch(['a', 'b', 'c'], { offset: 7n }), { from: 8n })
  assert.deepEqual([seen(read.records), read.next], [['8:b', '9:c'], 10n])
})

test('a batch that is cut off at the end is left for the next fetch', () => {
  const whole = batch(['a', 'b'])
  const cut = batch(['c'], { offset: 2n })
  for (const length of [5, 40, 61, cut.length - 1]) {
    const read = readAll(Buffer.concat([whole, cut.subarray(0, length)]))
    assert.deepEqual([seen(read.records), read.next, read.corrupt], [['0:a', '1:b'], 2n, undefined])
  }
  const alone = readAll(cut.subarray(0, cut.length - 1), { from: 2n })
  assert.deepEqual([alone.records, alone.next], [[], 2n])
})

test('holes that compaction left are stepped over, also at the end', () => {
  const compacted = batch(['a', 'b'], { offset: 3n })
  compacted.writeInt32BE(9, 23)
  const empty = batch(['x'], { offset: 20n })
  empty.writeInt32BE(0, 57)
  const all = Buffer.concat([sealed(compacted), sealed(empty.subarray(0, empty.length))])
  const read = readAll(all, { from: 1n })
  assert.deepEqual([seen(read.records), read.next], [['3:a', '4:b'], 21n])
})

test('of aborted transactions nothing is given, of committed ones all', () => {
  const mine = { producerId: 9n, transactional: true }
  const fetched = Buffer.concat([
    batch(['a', 'b'], { ...mine, offset: 0n }),
    marker('abort', 2n, 9n),
    batch(['c'], { ...mine, offset: 3n }),
    marker('commit', 4n, 9n),
    batch(['d'], { ...mine, offset: 5n }),
    batch(['plain'], { producerId: 9n, offset: 6n }),
    batch(['other'], { producerId: 8n, transactional: true, offset: 7n }),
    marker('abort', 8n, 9n),
    marker('commit', 9n, 8n),
    // Its marker is not in this fetch.
    batch(['e'], { ...mine, offset: 10n }),
  ])
  const aborted = [10n, 0n, 5n].map((firstOffset) => ({ producerId: 9n, firstOffset }))
  const read = readAll(fetched, { aborted })
  assert.deepEqual(seen(read.records), ['3:c', '6:plain', '7:other'])
  assert.equal(read.next, 11n)
})

test('an aborted transaction is left out when the fetch begins in its middle', () => {
  const mine = { producerId: 9n, transactional: true }
  const fetched = Buffer.concat([
    batch(['b'], { ...mine, offset: 5n }),
    marker('abort', 6n, 9n),
    batch(['c'], { ...mine, offset: 7n }),
    marker('commit', 8n, 9n),
  ])
  const read = readAll(fetched, { from: 5n, aborted: [{ producerId: 9n, firstOffset: 1n }] })
  assert.deepEqual([seen(read.records), read.next], [['7:c'], 9n])
})

test('a flipped byte is noticed, and what stands before its batch is given', () => {
  const good = batch(['amount=100', 'amount=200'])
  const bad = batch(['amount=300'], { offset: 2n })
  fc.assert(
    fc.property(
      fc.integer({ min: 17, max: bad.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      (at, flip) => {
        const broken = Buffer.from(bad)
        broken[at] = (broken[at] as number) ^ flip
        const read = readAll(Buffer.concat([good, broken]))
        assert.deepEqual(seen(read.records), ['0:amount=100', '1:amount=200'])
        assert.equal(read.next, 2n)
        assert.match(read.corrupt ?? '', /the batch at offset 2 cannot be read: its checksum/)
      },
    ),
  )
})

test('other formats, unknown codecs and impossible lengths are named, never skipped', () => {
  const old = batch(['x'], { offset: 5n })
  old[16] = 1
  const unknown = batch(['x'], { offset: 5n, attributes: 0b111 })
  const short = batch(['x'], { offset: 5n })
  short.writeInt32BE(3, 8)
  const lying = batch(['x', 'y'], { offset: 5n })
  lying[61] = 0x7e
  for (const [broken, reason] of [
    [old, /record format 1/],
    [unknown, /codec 7/],
    [short, /length is impossible/],
    [sealed(lying), /record beyond its end/],
  ] as const) {
    const read = readAll(broken, { from: 5n })
    assert.deepEqual([read.records, read.next], [[], 5n])
    assert.match(read.corrupt ?? '', reason)
  }
})

test('a batch that decompresses to more than allowed is refused before it fills the memory', () => {
  const huge = [Buffer.alloc(3_000_000).toString()]
  for (const compression of CODECS.slice(1)) {
    const read = readAll(batch(huge, { compression }), { maxBatchBytes: 100_000 })
    assert.match(read.corrupt ?? '', /offset 0.*more than the 100000 bytes allowed/, compression)
    assert.equal(readAll(batch(huge, { compression }), { maxBatchBytes: 9_000_000 }).next, 1n)
  }
})

test('what does not decompress is said to be broken, and the next batch still does', () => {
  for (const compression of CODECS.slice(1)) {
    const broken = batch(['hello '.repeat(50)], { compression })
    broken.fill(0xff, 66, broken.length - 4)
    const read = readAll(sealed(broken))
    assert.match(read.corrupt ?? '', /offset 0 cannot be read/, compression)
    assert.equal(readAll(batch(['fine'], { compression })).records.length, 1, compression)
  }
})

test('a read goes on where it stopped, by records and by bytes, for several readers', () => {
  for (const compression of ['none', 'lz4'] as const) {
    const values = Array.from({ length: 30 }, (_, n) => `${n}`.padStart(20, '-'))
    const fetched = Buffer.concat([
      batch(values.slice(0, 10), { compression }),
      batch(values.slice(10), { compression, offset: 10n }),
    ])
    const segment = new Segment(0n, fetched, [], 1_000_000, 0)
    const place = { topic: 't', topicId: 'id', partition: 0 }
    const readers = [3, 5, 10, 30].map((step) => ({ step, next: 0n, got: [] as LogRecord[] }))
    while (readers.some(({ next }) => next < 30n)) {
      for (const reader of readers) {
        const { next } = segment.read(reader.next, place, room(reader.step), reader.got)
        assert.ok(next - reader.next <= BigInt(reader.step))
        reader.next = next
      }
    }
    for (const { got } of readers) {
      assert.deepEqual(
        got.map(({ value }) => Buffer.from(value ?? []).toString()),
        values,
      )
    }
    const few: LogRecord[] = []
    assert.equal(segment.read(12n, place, room(100, 70), few).next, 14n)
    assert.deepEqual(few.length, 2)
    const one: LogRecord[] = []
    assert.equal(segment.read(0n, place, room(100, 1), one).next, 1n)
  }
})

test('some records of a compressed batch do not hold all of it in memory', () => {
  const records = Array.from({ length: 1_000 }, (_, n) => ({
    topic: 't',
    key: n % 2 === 0 ? null : Buffer.from(`key ${n}`),
    value: Buffer.from(`${n} `.padEnd(1_000, 'x')),
    headers: [
      ['h', Buffer.from(`${n}`)],
      ['none', null],
    ] as [string, Buffer | null][],
  }))
  for (const compression of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const segment = new Segment(0n, batch(records, { compression }), [], 10_000_000, 0)
    const place = { topic: 't', topicId: 'id', partition: 0 }
    const got: LogRecord[] = []
    let next = 0n
    while (next < 1_000n) next = segment.read(next, place, room(300), got).next
    assert.deepEqual(
      got.map(({ key, value, headers }) => ({ topic: 't', key, value, headers })),
      records,
    )
    for (const { key, value, headers } of got) {
      for (const bytes of [key, value, headers[0]?.[1]])
        if (bytes != null) assert.ok(bytes.buffer.byteLength < 100_000, compression)
    }
  }
})
