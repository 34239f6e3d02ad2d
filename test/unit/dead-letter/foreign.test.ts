import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DeadLetterHeaders } from '../../../src/dead-letter/foreign-headers.ts'
import { readForeignDeadLetter } from '../../../src/dead-letter/foreign.ts'
import type { Header } from '../../../src/events/raw-record.ts'
import { recordWith } from '../events/record.ts'
import {
  CONNECT_HEADERS,
  int32,
  int64,
  KARAFKA_HEADERS,
  SMALLRYE_HEADERS,
  SMALLRYE_NAMES,
  SPRING_CLOUD_HEADERS,
  SPRING_HEADERS,
  SPRING_RETRY_HEADERS,
} from '../../support/foreign-dead-letters.ts'

const read = (headers: readonly Header[], own?: DeadLetterHeaders) =>
  readForeignDeadLetter(recordWith({ headers: [...headers] }), own)
const text = (value: string): Buffer => Buffer.from(value)

test("Spring's headers say where, when, why and how often", () => {
  const { stage, origin, timestamp, error, attempts } = read(SPRING_HEADERS)
  assert.deepEqual(
    [stage, origin, timestamp?.toISOString(), attempts],
    [
      'apply',
      { topic: 'orders', partition: 5, offset: 4_294_967_298n },
      '2026-11-01T00:00:00.000Z',
      3,
    ],
  )
  assert.deepEqual(
    [error.class, error.message, error.causes],
    [
      'org.springframework.kafka.listener.ListenerExecutionFailedException',
      'Listener failed; order 7 has no price',
      [{ class: 'com.shop.PriceException', message: 'order 7 has no price' }],
    ],
  )
  assert.match(error.stack ?? '', /at com\.shop\.Listener/)
})

test("Connect's headers say where, at which stage and why", () => {
  const { stage, origin, error, attempts } = read(CONNECT_HEADERS)
  assert.deepEqual(
    [stage, origin, attempts],
    ['decode', { topic: 'orders', partition: 0, offset: 42n }, 1],
  )
  assert.deepEqual(
    [error.class, error.message],
    [
      'org.apache.kafka.connect.errors.DataException',
      'Converting byte[] to Kafka Connect data failed',
    ],
  )
})

test("Karafka's headers say where and how often", () => {
  const { origin, error, attempts } = read(KARAFKA_HEADERS)
  assert.deepEqual([origin, attempts], [{ topic: 'orders', partition: 12, offset: 99n }, 4])
  assert.match(error.message, /Karafka's group 'billing_group' set it aside.* trace id 0b7a6f7e-/)
  const before = KARAFKA_HEADERS.map(
    ([name, value]): Header => [name.replace('source_', 'original_'), value],
  )
  assert.deepEqual(read(before), read(KARAFKA_HEADERS))
})

test("the other names that Spring's programs use are read too", () => {
  const retried = read(SPRING_RETRY_HEADERS)
  assert.deepEqual(
    [retried.origin, retried.timestamp?.toISOString(), retried.attempts],
    [{ topic: 'orders', partition: 2, offset: 7n }, '2026-11-02T00:00:00.000Z', 4],
  )
  assert.equal(retried.error.message, 'Listener failed; order 8 has no price')
  assert.deepEqual(retried.error.causes, [{ class: 'com.shop.PriceException', message: '' }])
  const bound = read(SPRING_CLOUD_HEADERS)
  assert.deepEqual(
    [bound.origin, bound.timestamp?.toISOString(), bound.error.class],
    [
      { topic: 'orders', partition: 1, offset: 19n },
      '2026-11-03T00:00:00.000Z',
      'org.springframework.messaging.MessageHandlingException',
    ],
  )
})

test('a key that Spring could not read is the error when no other is told', () => {
  const key: Header[] = [
    ['kafka_dlt-key-exception-fqcn', text('a.DeserializationException')],
    ['kafka_dlt-key-exception-message', text('failed to deserialize the key')],
  ]
  const where = SPRING_HEADERS.filter(([name]) => !name.includes('exception'))
  const { class: name, message } = read([...where, ...key]).error
  assert.deepEqual([name, message], ['a.DeserializationException', 'failed to deserialize the key'])
  assert.match(read([...SPRING_HEADERS, ...key]).error.message, /order 7/)
})

test('a program whose headers are named is read by them, unless another spoke last', () => {
  const named = read(SMALLRYE_HEADERS, SMALLRYE_NAMES)
  assert.deepEqual(named, {
    stage: 'apply',
    origin: { topic: 'orders', partition: 3, offset: 77n },
    timestamp: null,
    error: {
      class: 'com.shop.PriceException',
      message: 'order 9 has no price',
      causes: [{ class: 'java.lang.NullPointerException', message: '' }],
    },
    attempts: 1,
  })
  assert.equal(read(SMALLRYE_HEADERS).origin, null)
  assert.equal(read(SPRING_HEADERS, SMALLRYE_NAMES).origin?.partition, 5)
  const both = [...SMALLRYE_HEADERS, ...SPRING_HEADERS]
  assert.equal(read(both, SMALLRYE_NAMES).origin?.partition, 5)
  assert.equal(read(both.toReversed(), SMALLRYE_NAMES).origin?.partition, 3)
  const again = read([['source_topic', text('a')]], { message: 'source_topic' })
  assert.equal(again.error.message, 'a')
})

test('the time that a named header tells is milliseconds or a text', () => {
  const at = (value: Buffer): string | undefined =>
    read([['at', value]], { timestamp: 'at' }).timestamp?.toISOString()
  const expected = '2026-11-01T00:00:00.000Z'
  const ms = Date.parse(expected)
  for (const value of [text(String(ms)), int64(BigInt(ms)), text('2026-11-01T01:00:00+01:00')])
    assert.equal(at(value), expected)
  for (const value of ['2026-13-01T00:00:00Z', '1960-01-01T00:00:00Z', 'yesterday', ''])
    assert.equal(at(text(value)), undefined)
})

test('of a record set aside again, the first says where it is from and the last why', () => {
  const again = read([
    ...SPRING_HEADERS,
    ['kafka_dlt-original-topic', text('orders.DLT')],
    ['kafka_dlt-original-partition', int32(1)],
    ['kafka_dlt-original-offset', int64(1n)],
    ['kafka_dlt-exception-message', text('now it is another thing')],
  ])
  assert.equal(again.origin?.topic, 'orders')
  assert.equal(again.error.message, 'now it is another thing')
  assert.equal(read([...SPRING_HEADERS, ...CONNECT_HEADERS]).stage, 'decode')
  assert.equal(read([...CONNECT_HEADERS, ...SPRING_HEADERS]).stage, 'apply')
})

test('what is broken is left out, and the rest is taken', () => {
  const broken: readonly (readonly [string, Buffer | null])[] = [
    ['kafka_dlt-original-partition', int32(-1)],
    ['kafka_dlt-original-partition', text('')],
    ['kafka_dlt-original-partition', text('abc')],
    ['kafka_dlt-original-partition', int64(2n ** 31n)],
    ['kafka_dlt-original-partition', null],
    ['kafka_dlt-original-offset', int64(-5n)],
    ['kafka_dlt-original-offset', text('9223372036854775808')],
    ['kafka_dlt-original-offset', Buffer.alloc(5)],
    ['kafka_dlt-original-topic', text('')],
  ]
  for (const [name, value] of broken) {
    const others = SPRING_HEADERS.filter(([other]) => other !== name)
    const { origin, error } = read([...others, [name, value]])
    assert.equal(origin, null, `${name} ${value?.toString('hex')}`)
    assert.match(error.message, /order 7/)
  }
  const time = read([['kafka_dlt-original-timestamp', int64(2n ** 62n)], ...SPRING_HEADERS])
  assert.equal(time.timestamp, null)
})

test('whatever headers there are, they are read, and what is read can be stored', () => {
  const known = [
    ...SPRING_HEADERS,
    ...SPRING_RETRY_HEADERS,
    ...SPRING_CLOUD_HEADERS,
    ...CONNECT_HEADERS,
    ...KARAFKA_HEADERS,
    ...SMALLRYE_HEADERS,
  ].map(([name]) => name)
  const header = fc.tuple(
    fc.oneof(fc.constantFrom(...known), fc.string()),
    fc.option(fc.uint8Array({ maxLength: 64 })),
  )
  fc.assert(
    fc.property(fc.array(header, { maxLength: 40 }), (headers) => {
      const found = read(headers, { ...SMALLRYE_NAMES, timestamp: 'x', attempts: 'y' })
      const { origin, timestamp, attempts } = found
      assert.ok(Number.isInteger(attempts) && attempts >= 1 && attempts < 2 ** 31)
      assert.ok(origin === null || (origin.partition >= 0 && origin.offset < 2n ** 63n))
      assert.match(timestamp?.toISOString() ?? '1970', /^\d{4}\b/)
      const { class: name, message, stack = '' } = found.error
      const told = `${name} ${message} ${stack} ${origin?.topic ?? ''}`
      assert.ok(told.isWellFormed() && !told.includes('\u0000'))
    }),
  )
})
