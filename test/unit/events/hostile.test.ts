import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { z } from 'zod'
import { createCore } from '../../../src/core/core.ts'
import type { ErrorCode } from '../../../src/errors/codes.ts'
import { type Decoded, createDecoder } from '../../../src/events/decode.ts'
import { encodeEvent } from '../../../src/events/encode.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import type { Header } from '../../../src/events/raw-record.ts'
import { tombstone } from '../../../src/events/tombstone.ts'
import { headersOf, recordWith } from './record.ts'

const anything = event('ITEM_SOLD', { source: 'S', topic: 'orders', schema: z.unknown() })
const decode = createDecoder([anything])

function dataOf(json: string | Uint8Array): unknown {
  const decoded = decode(recordWith({ value: Buffer.from(json) })) as Decoded
  assert.equal(decoded.kind, 'event', JSON.stringify(decoded))
  return decoded.kind === 'event' ? decoded.event.data : undefined
}

function refusal(value: string | Uint8Array): { code: ErrorCode; message: string } {
  const decoded = decode(recordWith({ value: Buffer.from(value) })) as Decoded
  assert.equal(decoded.kind, 'rejected', JSON.stringify(decoded))
  assert.ok(decoded.kind === 'rejected' && decoded.stage === 'decode')
  return decoded.error
}

test('bytes that are not UTF-8 are refused, not replaced', () => {
  for (const bytes of [
    [0x22, 0xff, 0x22],
    [0x22, 0xc3, 0x22],
    [0x22, 0xed, 0xa0, 0x80, 0x22],
    [0x22, 0xc0, 0x80, 0x22],
  ]) {
    assert.match(refusal(Uint8Array.from(bytes)).message, /not UTF-8/)
  }
  refusal(Buffer.from('{"a":1}', 'utf16le'))
})

test('a byte order mark is no JSON', () => {
  assert.match(refusal('\uFEFF{"a":1}').message, /begins with a byte order mark/)
})

test('JSON that is cut off is refused without a word of it', () => {
  for (const json of ['{"secret":"hunter2"', '{"secret":"hunt', '["hunter2",', '{"hunter2"']) {
    const { code, message } = refusal(json)
    assert.equal(code, 'E_EVENT_UNDECODABLE')
    assert.match(message, /is not JSON/)
    assert.ok(!/hunt/.test(message), message)
  }
  const { message } = refusal('{"secret":"hunter2",oops}')
  assert.match(message, /the character at position 20 \(of 25\)/)
  assert.match(refusal('  \n').message, /it is blank/)
  refusal('NaN')
})

test('U+0000 and lone surrogates are refused wherever they hide', () => {
  for (const [json, path] of [
    [String.raw`{"a":"x\u0000"}`, 'data.a'],
    [String.raw`{"a":[1,{"b":"\uD800"}]}`, 'data.a[1].b'],
    [String.raw`"\udc00\ud800"`, 'data'],
    [String.raw`{"a\u0000b":1}`, 'data["a\\u0000b"]'],
    [String.raw`{"list":[["\udfff"]]}`, 'data.list[0][0]'],
  ] as const) {
    assert.ok(refusal(json).message.includes(`${path} has U+0000 or a lone surrogate`), json)
  }
})

test('escapes that only look like U+0000 or lone surrogates are taken', () => {
  assert.equal(dataOf(String.raw`"\\u0000"`), String.raw`\u0000`)
  assert.equal(dataOf(String.raw`"\ud83d\ude00"`), '😀')
})

test('nesting is limited before anything is parsed', () => {
  const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`
  dataOf(nested(128))
  assert.equal(refusal(nested(129)).code, 'E_EVENT_TOO_LARGE')
  assert.equal(refusal(nested(500_000)).code, 'E_EVENT_TOO_LARGE')
  assert.equal(refusal('{"a":'.repeat(100_000)).code, 'E_EVENT_TOO_LARGE')
  // Brackets in strings are text, also behind an escaped quote.
  dataOf(JSON.stringify(`"${'['.repeat(1_000)}\\`))
  dataOf(JSON.stringify(Array.from({ length: 1_000 }, () => [[]])))
})

test('a value over the limit is refused unread', () => {
  const small = createDecoder([anything], { maxValueBytes: 10 })
  const read = (json: string): Decoded => small(recordWith({ json })) as Decoded
  assert.equal(read('"12345678"').kind, 'event')
  const decoded = read('"123456789"')
  assert.ok(decoded.kind === 'rejected' && decoded.error.code === 'E_EVENT_TOO_LARGE')
})

test('a property called __proto__ is a property and changes nothing else', () => {
  const json = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
  const data = dataOf(json) as object
  assert.ok(Object.hasOwn(data, '__proto__'))
  assert.equal(Object.getPrototypeOf(data), Object.prototype)
  assert.equal(({} as { polluted?: number }).polluted, undefined)
  const found = decode(recordWith({ json: String.raw`{"__proto__":{"a":"\u0000"}}` })) as Decoded
  assert.ok(found.kind === 'rejected' && found.error.message.includes('data.__proto__.a'))
})

test('of repeated names the last counts', () => {
  assert.deepEqual(dataOf('{"a":1,"b":2,"a":3}'), { b: 2, a: 3 })
})

test('numbers are IEEE doubles', () => {
  assert.deepEqual(dataOf('[9007199254740993,1e400,-0]'), [9_007_199_254_740_992, Infinity, -0])
})

test('a record may have 300 headers, and some of them twice', () => {
  const headers: Header[] = Array.from({ length: 300 }, (_, n) => [
    `h-${n % 150}`,
    n % 3 === 0 ? null : Buffer.from([n & 0xff]),
  ])
  const record = recordWith({ headers: [...headers, ...headersOf()] })
  assert.equal((decode(record) as Decoded).kind, 'event')
  const many = recordWith({
    headers: [...headersOf(), ...Array.from({ length: 1_000 }, () => headers[0] as Header)],
  })
  const decoded = decode(many) as Decoded
  assert.ok(decoded.kind === 'rejected' && decoded.error.code === 'E_EVENT_TOO_LARGE')
})

test('terminal escapes and long names do not get into an error', () => {
  const name = `\u001b[2J\u202e${'x'.repeat(5_000)}`
  const strict = event('ITEM_SOLD', {
    source: 'S',
    topic: 'orders',
    schema: z.record(z.string(), z.number()),
  })
  const json = JSON.stringify({ [name]: 'not a number' })
  const decoded = createDecoder([strict])(recordWith({ json })) as Decoded
  assert.ok(decoded.kind === 'rejected')
  for (const bad of ['\u001b', '\u202e']) assert.ok(!decoded.error.message.includes(bad))
  assert.ok(decoded.error.message.length < 500, decoded.error.message)
})

const bytes = fc.option(fc.uint8Array({ maxLength: 64 }), { nil: null })
const headerNames = fc.constantFrom(
  ...headersOf().map(([name]) => name),
  'ce_dataversion',
  'ce_correlationid',
  'ce_causationid',
  'content-type',
  'traceparent',
  'other',
)
const values = fc.oneof(
  bytes,
  fc.json().map((json) => Buffer.from(json)),
  fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
)

test('decoding never throws, whatever the bytes', async () => {
  const strict = z.object({ a: z.string(), b: z.array(z.number()).optional() })
  const definitions = [
    event('ITEM_SOLD', { source: 'S', topic: 'orders', schema: strict }),
    foreign('films', { schema: strict, key: (data) => data.a, map: (data) => data.b?.[0] }),
    tombstone('films'),
  ]
  const read = createDecoder(definitions)
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('orders', 'films', 'elsewhere'),
      bytes,
      values,
      fc.array(
        fc.tuple(
          headerNames,
          fc.oneof(
            bytes,
            fc.string().map((s) => Buffer.from(s)),
          ),
        ),
      ),
      fc.boolean(),
      async (topic, key, value, some, envelope) => {
        const headers = envelope ? [...some, ...headersOf()] : some
        const decoded = await read(recordWith({ topic, key, value, headers }))
        assert.ok(['event', 'filtered', 'rejected'].includes(decoded.kind))
      },
    ),
    { numRuns: 2_000 },
  )
  assert.deepEqual(Object.keys(Object.prototype), [])
})

test('what was encoded is decoded as it was', async () => {
  const core = createCore()
  const id = fc.stringMatching(/^[!-~]{1,40}$/)
  const text = fc
    .string({ unit: 'grapheme' })
    .filter((s) => !s.includes('\u0000') && s.isWellFormed())
  const keyed = event('KEYED', { source: 'S', topic: 'orders', schema: z.unknown(), version: 7 })
  const read = createDecoder([keyed])
  await fc.assert(
    fc.asyncProperty(
      fc.jsonValue({ noUnicodeString: false, maxDepth: 6 }),
      fc.option(text, { nil: null }),
      fc.record({ id, correlationId: id, causationId: fc.option(id, { nil: null }) }),
      fc.date({ noInvalidDate: true, min: new Date('0001-01-01'), max: new Date('9999-12-31') }),
      async (value, key, envelope, time) => {
        const json = JSON.stringify(value)
        fc.pre(!/\\u(0000|d[89a-f])/i.test(json))
        const encoded = await encodeEvent(core, keyed, value, { ...envelope, key, time })
        const decoded = await read({ ...encoded, topicId: 't', partition: 0, offset: 0n })
        assert.ok(decoded.kind === 'event', JSON.stringify(decoded))
        assert.deepEqual(decoded.event, {
          ...envelope,
          type: 'KEYED',
          source: 'S',
          version: 7,
          traceparent: null,
          data: JSON.parse(json) as unknown,
          key,
          time,
        })
      },
    ),
    { numRuns: 1_000 },
  )
})
