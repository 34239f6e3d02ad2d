import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { z } from 'zod'
import { type Decoded, createDecoder, type RejectedRecord } from '../../../src/events/decode.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import type { PlacedRecord } from '../../../src/events/raw-record.ts'
import type { ReceivedEvent } from '../../../src/events/received-event.ts'
import { tombstone } from '../../../src/events/tombstone.ts'
import { headersOf, recordWith } from './record.ts'

const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  schema: z.object({ orderId: z.string(), priceCents: z.int() }),
})
const decode = createDecoder([itemSold])

function eventOf(decoded: unknown): ReceivedEvent {
  const one = decoded as Decoded
  assert.equal(one.kind, 'event', inspect(one))
  return (one as Extract<Decoded, { kind: 'event' }>).event
}

function rejectionOf(decoded: unknown): RejectedRecord {
  const one = decoded as Decoded
  assert.equal(one.kind, 'rejected', inspect(one))
  return one as RejectedRecord
}

test('a record becomes an event with everything its envelope says', () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const headers = headersOf({
    ce_correlationid: 'c-1',
    ce_causationid: 'j-1',
    traceparent,
    'content-type': 'application/json; charset=utf-8',
  })
  const decoded = decode(recordWith({ headers })) as Decoded
  assert.deepEqual(eventOf(decoded), {
    id: 'e-1',
    type: 'ITEM_SOLD',
    source: 'ORDER_SERVICE',
    time: new Date('2026-11-22T20:15:00.000Z'),
    version: 1,
    key: 'o-1',
    data: { orderId: 'o-1', priceCents: 1250 },
    correlationId: 'c-1',
    causationId: 'j-1',
    traceparent,
  })
  assert.equal((decoded as { definition?: unknown }).definition, itemSold)
})

test('a record without our extensions is of version 1 and its own beginning', () => {
  const received = eventOf(decode(recordWith({ headers: headersOf({ ce_time: null }) })))
  assert.equal(received.version, 1)
  assert.equal(received.correlationId, 'e-1')
  assert.equal(received.causationId, null)
  assert.deepEqual(received.time, new Date('2026-11-22T20:15:01.000Z'))
})

test('a trace context that is not valid is ignored', () => {
  for (const traceparent of ['', '00-xyz', `ff-${'1'.repeat(32)}-${'1'.repeat(16)}-01`]) {
    assert.equal(
      eventOf(decode(recordWith({ headers: headersOf({ traceparent }) }))).traceparent,
      null,
    )
  }
})

test('of envelope headers with one name the first counts', () => {
  const headers = [...headersOf(), ...headersOf({ ce_id: 'e-2', ce_type: 'OTHER' })]
  assert.equal(eventOf(decode(recordWith({ headers }))).id, 'e-1')
})

test('a type that nobody handles is filtered, whatever is in the record', () => {
  const headers = headersOf({ ce_type: 'OTHER', ce_id: null })
  assert.deepEqual(decode(recordWith({ headers, value: Buffer.from([0xff]) })), {
    kind: 'filtered',
    reason: 'unhandled type',
    eventType: 'OTHER',
  })
})

test('a handled type on a topic that its definition does not name is filtered', () => {
  const decoded = decode(recordWith({ topic: 'elsewhere' })) as Decoded
  assert.equal(decoded.kind === 'filtered' && decoded.reason, 'unhandled type')
})

test('a record without a type is filtered where nobody reads foreign records', () => {
  assert.deepEqual(decode(recordWith({ headers: [] })), { kind: 'filtered', reason: 'no type' })
})

test('a type header that is no text is rejected, because nobody can say whose it is', () => {
  for (const bytes of [Buffer.from([0xff]), Buffer.from('')]) {
    const rejected = rejectionOf(decode(recordWith({ headers: headersOf({ ce_type: bytes }) })))
    assert.equal(rejected.error.code, 'E_EVENT_UNDECODABLE')
    assert.equal(rejected.eventType, undefined)
  }
})

test('a broken envelope of a handled type is rejected with what can be read of it', () => {
  const broken: [Record<string, string | null>, RegExp][] = [
    [{ ce_id: null }, /ce_id is missing/],
    [{ ce_id: '' }, /ce_id: expected UTF-8 text/],
    [{ ce_id: 'a\u0000' }, /ce_id: expected UTF-8 text/],
    [{ ce_source: null }, /ce_source is missing/],
    [{ ce_time: 'yesterday' }, /ce_time: expected a time/],
    [{ ce_time: '2026-13-01T00:00:00Z' }, /ce_time: expected a time/],
    [{ ce_dataversion: '1.5' }, /ce_dataversion: expected a whole number/],
    [{ ce_specversion: '0.3' }, /ce_specversion: expected 1\.0/],
    [{ 'content-type': 'application/avro' }, /content-type: expected application\/json/],
    [{ ce_correlationid: '\u001b[2J' }, /ce_correlationid: expected/],
  ]
  for (const [headers, message] of broken) {
    const rejected = rejectionOf(decode(recordWith({ headers: headersOf(headers) })))
    assert.equal(rejected.stage, 'decode')
    assert.equal(rejected.eventType, 'ITEM_SOLD')
    assert.match(rejected.error.message, message)
    if (!('ce_id' in headers)) assert.equal(rejected.eventId, 'e-1')
  }
})

test('data that does not match is rejected with the path and without the value', () => {
  const rejected = rejectionOf(decode(recordWith({ json: '{"orderId":4111111111111111}' })))
  assert.equal(rejected.stage, 'validate')
  assert.equal(rejected.error.code, 'E_EVENT_INVALID')
  assert.equal(rejected.error.retryable, false)
  assert.equal(rejected.eventId, 'e-1')
  assert.equal(rejected.eventVersion, 1)
  assert.match(rejected.error.message, /data\.orderId: .*\n {2}- data\.priceCents: /)
  assert.ok(!rejected.error.message.includes('4111'))
})

test('older data is brought to the newest version before it is validated', () => {
  const newest = event('ITEM_SOLD', {
    source: 'S',
    topic: 'orders',
    version: 3,
    schema: z.object({ orderId: z.string(), priceCents: z.int(), currency: z.string() }),
    upcasters: {
      1: (data) => ({ ...(data as object), priceCents: (data as { price: number }).price * 100 }),
      2: (data) => ({ ...(data as object), currency: 'EUR' }),
    },
  })
  const read = createDecoder([newest])
  const received = eventOf(read(recordWith({ json: '{"orderId":"o-1","price":3}' })))
  assert.deepEqual(received.data, { orderId: 'o-1', priceCents: 300, currency: 'EUR' })
  assert.equal(received.version, 1)
  const headers = headersOf({ ce_dataversion: '2' })
  assert.equal(eventOf(read(recordWith({ headers }))).version, 2)
})

test('a version that no upcaster reaches is rejected', () => {
  const later = event('ITEM_SOLD', {
    source: 'S',
    topic: 'orders',
    version: 3,
    schema: z.unknown(),
    upcasters: { 2: (data) => data },
  })
  for (const version of ['1', '4', '999999999']) {
    const headers = headersOf({ ce_dataversion: version })
    const rejected = rejectionOf(createDecoder([later])(recordWith({ headers })))
    assert.equal(rejected.error.code, 'E_EVENT_VERSION')
    assert.equal(rejected.eventVersion, Number(version))
    assert.match(rejected.error.message, /only versions 2 to 3 are known/)
  }
})

test('an upcaster that throws rejects the record and is the cause', () => {
  const failure = new Error('no price')
  const broken = event('ITEM_SOLD', {
    source: 'S',
    topic: 'orders',
    version: 2,
    schema: z.unknown(),
    upcasters: {
      1: () => {
        throw failure
      },
    },
  })
  const rejected = rejectionOf(createDecoder([broken])(recordWith({})))
  assert.equal(rejected.stage, 'validate')
  assert.equal(rejected.error.cause, failure)
  assert.match(rejected.error.message, /upcaster from version 1 to 2 threw/)
})

test('a schema that throws rejects the record, at once or later', async () => {
  const throwing = (validate: () => never | Promise<never>): StandardSchemaV1 => ({
    '~standard': { version: 1, vendor: 'test', validate },
  })
  for (const schema of [
    throwing(() => assert.fail('broken')),
    throwing(() => Promise.reject(new Error('broken'))),
  ]) {
    const broken = event('ITEM_SOLD', { source: 'S', topic: 'orders', schema })
    const rejected = rejectionOf(await createDecoder([broken])(recordWith({})))
    assert.equal(rejected.stage, 'validate')
    assert.match(rejected.error.message, /threw an error/)
  }
})

test('an asynchronous schema is waited for', async () => {
  const slow = event('ITEM_SOLD', {
    source: 'S',
    topic: 'orders',
    schema: z.object({ orderId: z.string().transform(async (id) => Promise.resolve(`${id}!`)) }),
  })
  const decoded = createDecoder([slow])(recordWith({}))
  assert.ok(decoded instanceof Promise)
  assert.deepEqual(eventOf(await decoded).data, { orderId: 'o-1!' })
})

test('a tombstone is filtered unless somebody asked for it', () => {
  const record = recordWith({ value: null })
  assert.deepEqual(decode(record), { kind: 'filtered', reason: 'tombstone' })
  const received = eventOf(createDecoder([itemSold, tombstone('orders')])(record))
  assert.equal(received.type, 'TOMBSTONE:orders')
  assert.equal(received.data, null)
  assert.equal(received.key, 'o-1')
  assert.equal(received.id, 'e-1')
})

test('a tombstone without an envelope has the id of its place', () => {
  const read = createDecoder([tombstone('orders')])
  const at = (offset: bigint): string =>
    eventOf(read(recordWith({ value: null, headers: [], offset }))).id
  assert.equal(at(1n), at(1n))
  assert.notEqual(at(1n), at(2n))
})

test('an empty value is no tombstone', () => {
  const read = createDecoder([itemSold, tombstone('orders')])
  const rejected = rejectionOf(read(recordWith({ value: Buffer.alloc(0) })))
  assert.match(rejected.error.message, /its value is empty/)
})

test('no key, an empty key and a key that is no text are three things', () => {
  const keyOf = (key: PlacedRecord['key']): string | null =>
    eventOf(decode(recordWith({ key }))).key
  assert.equal(keyOf(null), null)
  assert.equal(keyOf(Buffer.alloc(0)), '')
  assert.equal(keyOf(Buffer.from([0xff, 0x00])), 'base64:/wA=')
  assert.equal(keyOf(Buffer.from('a\u0000')), 'base64:YQA=')
})

test('foreign records become events with an id of their place', () => {
  const film = foreign('films', { schema: z.object({ Title: z.string() }), key: (d) => d.Title })
  const read = createDecoder([film])
  const record = recordWith({ topic: 'films', headers: [], json: '{"Title":"Alien"}' })
  const received = eventOf(read(record))
  assert.match(received.id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.equal(received.type, 'FOREIGN:films')
  assert.equal(received.source, 'films')
  assert.equal(received.key, 'Alien')
  assert.deepEqual(received.time, record.timestamp)
  assert.equal(
    eventOf(read({ ...record, value: Buffer.from('{"Title":"Aliens"}') })).id,
    received.id,
  )
  assert.notEqual(eventOf(read({ ...record, offset: 43n })).id, received.id)
  assert.notEqual(eventOf(read({ ...record, topicId: 'another' })).id, received.id)
})

test('foreign records are mapped by the functions of their definition', () => {
  const film = foreign('films', {
    schema: z.object({ Title: z.string(), Year: z.int() }),
    type: 'FILM_SEEN',
    source: 'DISTRIBUTOR',
    id: ({ Title }) => `film:${Title}`,
    time: ({ Year }) => new Date(Date.UTC(Year, 0)),
    map: ({ Title }, { offset }) => ({ name: Title, at: offset }),
  })
  const record = recordWith({ topic: 'films', headers: [], json: '{"Title":"Alien","Year":1979}' })
  const received = eventOf(createDecoder([film])(record))
  assert.deepEqual(received, {
    id: 'film:Alien',
    type: 'FILM_SEEN',
    source: 'DISTRIBUTOR',
    time: new Date('1979-01-01T00:00:00.000Z'),
    version: 1,
    key: 'o-1',
    data: { name: 'Alien', at: 42n },
    correlationId: 'film:Alien',
    causationId: null,
    traceparent: null,
  })
})

test('a foreign record is rejected when it does not match or a function gives what it must not', () => {
  const schema = z.object({ Title: z.string() })
  const record = recordWith({ topic: 'films', headers: [], json: '{"Title":"Alien"}' })
  const definitions = [
    foreign('films', { schema: z.object({ Year: z.int() }) }),
    foreign('films', { schema, id: () => '' }),
    foreign('films', { schema, time: () => new Date(Number.NaN) }),
    foreign('films', { schema, key: () => 7 as never }),
    foreign('films', { schema, map: () => assert.fail('no map') }),
  ]
  for (const definition of definitions) {
    const rejected = rejectionOf(createDecoder([definition])(record))
    assert.equal(rejected.stage, 'validate')
    assert.equal(rejected.eventType, 'FOREIGN:films')
  }
  const cut = rejectionOf(
    createDecoder(definitions.slice(0, 1))({ ...record, value: Buffer.from('{') }),
  )
  assert.equal(cut.stage, 'decode')
})

test('a decoder refuses limits out of bounds and two definitions of one thing', () => {
  assert.throws(() => createDecoder([itemSold], { maxDepth: 0, maxValueBytes: 1.5 }), {
    code: 'E_CONFIG_INVALID',
    message: /maxValueBytes[\s\S]*maxDepth/,
  })
  assert.throws(() => createDecoder([itemSold, { ...itemSold }]), { code: 'E_CONFIG_INVALID' })
  createDecoder([itemSold, itemSold, tombstone('orders'), tombstone('orders')])
})
