import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as v from 'valibot'
import { z } from 'zod'
import { createCore } from '../../../src/core/core.ts'
import { isUuid } from '../../../src/core/ids.ts'
import { describeError } from '../../../src/errors/describe.ts'
import { isMillraceError, type MillraceError } from '../../../src/errors/millrace-error.ts'
import { type EncodedEvent, encodeEvent, encodeEvents } from '../../../src/events/encode.ts'
import { event } from '../../../src/events/event.ts'

const core = createCore()
const itemSold = event('ITEM_SOLD', {
  source: 'ORDER_SERVICE',
  topic: 'orders',
  version: 2,
  upcasters: { 1: (data) => data },
  schema: z.object({ orderId: z.string(), priceCents: z.int() }),
  key: (data) => data.orderId,
})
const anything = event('ANYTHING', { source: 'S', topic: 't', schema: z.unknown() })

function headersOf({ headers }: EncodedEvent): Record<string, string> {
  return Object.fromEntries(
    headers.map(([name, value]) => [name, Buffer.from(value ?? []).toString()]),
  )
}

async function errorOf(encode: () => unknown): Promise<MillraceError> {
  try {
    await encode()
  } catch (error) {
    assert.ok(isMillraceError(error), String(error))
    return error
  }
  return assert.fail('it was encoded')
}

test('an event is written as CloudEvents in binary mode', async () => {
  const time = new Date('2026-11-22T20:15:00.123Z')
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const encoded = await encodeEvent(
    core,
    itemSold,
    { orderId: 'o-1', priceCents: 5 },
    { id: 'e-1', time, correlationId: 'c-1', causationId: 'j-1', traceparent },
  )
  assert.deepEqual(headersOf(encoded), {
    ce_specversion: '1.0',
    ce_id: 'e-1',
    ce_type: 'ITEM_SOLD',
    ce_source: 'ORDER_SERVICE',
    ce_time: '2026-11-22T20:15:00.123Z',
    'content-type': 'application/json',
    ce_dataversion: '2',
    ce_correlationid: 'c-1',
    ce_causationid: 'j-1',
    traceparent,
  })
  assert.equal(Buffer.from(encoded.value).toString(), '{"orderId":"o-1","priceCents":5}')
  assert.equal(Buffer.from(encoded.key ?? []).toString(), 'o-1')
  assert.equal(encoded.topic, 'orders')
  assert.deepEqual(encoded.timestamp, time)
})

test('an event that nothing led to is its own beginning', async () => {
  const encoded = await encodeEvent(core, itemSold, { orderId: 'o-1', priceCents: 5 })
  const headers = headersOf(encoded)
  assert.ok(isUuid(encoded.id))
  assert.equal(headers['ce_correlationid'], encoded.id)
  assert.ok(!('ce_causationid' in headers) && !('traceparent' in headers))
})

test('a trace context that is not valid is left out', async () => {
  const data = { orderId: 'o-1', priceCents: 5 }
  const encoded = await encodeEvent(core, itemSold, data, { traceparent: '00-nonsense' })
  assert.ok(!('traceparent' in headersOf(encoded)))
})

test('an event of a synchronous schema is encoded without a promise', () => {
  assert.ok(!(encodeEvent(core, anything, {}) instanceof Promise))
})

test('an event of an asynchronous schema is validated before it is encoded', async () => {
  const slow = event('SLOW', {
    source: 'S',
    topic: 't',
    schema: z.object({ n: z.number().refine(async (n) => Promise.resolve(n > 0)) }),
  })
  assert.equal((await encodeEvent(core, slow, { n: 1 })).type, 'SLOW')
  assert.equal((await errorOf(() => encodeEvent(core, slow, { n: -1 }))).code, 'E_EVENT_INVALID')
})

test('many events are encoded in order and share what is said about them', async () => {
  const data = [1, 2, 3].map((n) => ({ orderId: `o-${n}`, priceCents: n }))
  const encoded = await encodeEvents(core, itemSold, data, { correlationId: 'c-1' })
  assert.deepEqual(
    encoded.map(({ key }) => Buffer.from(key ?? []).toString()),
    ['o-1', 'o-2', 'o-3'],
  )
  assert.equal(new Set(encoded.map(({ id }) => id)).size, 3)
  assert.ok(encoded.every((one) => headersOf(one)['ce_correlationid'] === 'c-1'))
})

test('what JSON would change is refused, naming type and path', async () => {
  const dated = event('DATED', { source: 'S', topic: 't', schema: z.object({ at: z.date() }) })
  const error = await errorOf(() => encodeEvent(core, dated, { at: new Date(0) }))
  assert.equal(error.code, 'E_EVENT_INVALID')
  assert.match(error.message, /event 'DATED'.*\n {2}- data\.at: /)

  const big = await errorOf(() => encodeEvent(core, anything, { list: [{ n: 12_345_678_901n }] }))
  assert.match(big.message, /data\.list\[0\]\.n: expected a JSON value, got a bigint/)

  const circle: Record<string, unknown> = {}
  circle['self'] = { circle }
  const circular = await errorOf(() => encodeEvent(core, anything, circle))
  assert.match(circular.message, /data\.self\.circle: .*an object that contains itself/)

  const nothing = await errorOf(() => encodeEvent(core, anything, undefined))
  assert.match(nothing.message, /data: expected a JSON value, got undefined/)
})

test('NaN is refused by a schema that wants a number, because JSON makes it null', async () => {
  const error = await errorOf(() =>
    encodeEvent(core, itemSold, { orderId: 'o-1', priceCents: Number.NaN }),
  )
  assert.match(error.message, /data\.priceCents/)
})

test('the error of an invalid event has no value in it, whatever the library says', async () => {
  const secret = 'canary-4111111111111111'
  const shape = { card: v.pipe(v.string(), v.maxLength(3)), n: v.string(), kind: v.literal('a') }
  const payment = event('PAID', { source: 'S', topic: 't', schema: v.object(shape) })
  const data = { card: secret, n: 4_111_111_111_111_111, kind: secret }
  const error = await errorOf(() => encodeEvent(core, payment, data as never))
  const shown = JSON.stringify([describeError(error), error.details])
  assert.match(error.message, /data\.card: .*<string>|data\.kind: .*<string>/)
  assert.ok(!shown.includes('canary') && !shown.includes('411111'), shown)
})

test('text that Postgres or UTF-8 cannot hold is refused', async () => {
  for (const text of ['a\u0000b', '\ud800', 'x\udfff']) {
    assert.match(
      (await errorOf(() => encodeEvent(core, anything, { deep: [{ text }] }))).message,
      /data\.deep\[0\]\.text has U\+0000 or a lone surrogate/,
    )
    await errorOf(() => encodeEvent(core, anything, { [text]: 1 }))
    await errorOf(() => encodeEvent(core, anything, {}, { key: text }))
    await errorOf(() => encodeEvent(core, anything, {}, { id: text }))
  }
  await encodeEvent(core, anything, { text: '\\u0000 😀' })
})

test('what readers would refuse as too large or too deep is refused', async () => {
  const large = await errorOf(() => encodeEvent(core, anything, 'x'.repeat(1_048_575)))
  assert.equal(large.code, 'E_EVENT_TOO_LARGE')
  let deep: unknown = 1
  for (let level = 0; level < 128; level += 1) deep = [deep]
  await encodeEvent(core, anything, deep)
  assert.equal((await errorOf(() => encodeEvent(core, anything, [deep]))).code, 'E_EVENT_TOO_LARGE')
  for (let level = 0; level < 100_000; level += 1) deep = [deep]
  assert.equal((await errorOf(() => encodeEvent(core, anything, deep))).code, 'E_EVENT_TOO_LARGE')
})

test('a key that is none is refused', async () => {
  const bad = event('BAD', { source: 'S', topic: 't', schema: z.unknown(), key: () => 7 as never })
  assert.match((await errorOf(() => encodeEvent(core, bad, {}))).message, /key: expected a string/)
  const throwing = event('BAD', {
    source: 'S',
    topic: 't',
    schema: z.unknown(),
    key: () => assert.fail('no key'),
  })
  assert.match(
    (await errorOf(() => encodeEvent(core, throwing, {}))).message,
    /`key` function threw/,
  )
})

test('an empty key is a key', async () => {
  const encoded = await encodeEvent(core, anything, {}, { key: '' })
  assert.equal(encoded.key?.length, 0)
  assert.equal(
    (await encodeEvent(core, itemSold, { orderId: 'o', priceCents: 1 }, { key: null })).key,
    null,
  )
})

test('a time that cannot be written is refused', async () => {
  const error = await errorOf(() => encodeEvent(core, anything, {}, { time: new Date(Number.NaN) }))
  assert.match(error.message, /time: expected a valid date/)
})
