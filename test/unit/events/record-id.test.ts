import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { offsetInId, recordId } from '../../../src/events/record-id.ts'
import type { PlacedRecord } from '../../../src/events/raw-record.ts'

const UUID_8 = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const TOPIC_ID = '6dc6ddfd-2d7c-4f67-8ad1-2b63e4e0ba02'

const at = (topicId: string, partition: number, offset: bigint): string =>
  recordId({ topicId, partition, offset } as PlacedRecord)

test('the id of a record is a UUID, the same for the same place and another for any other', () => {
  const place = fc.record({
    topicId: fc.constantFrom(TOPIC_ID, '0b1f4a52-51e8-4c38-9c0b-2f8f3b1a4e11'),
    partition: fc.integer({ min: 0, max: 1_000 }),
    offset: fc.bigInt({ min: 0n, max: (1n << 62n) - 1n }),
  })
  fc.assert(
    fc.property(place, place, (a, b) => {
      const id = at(a.topicId, a.partition, a.offset)
      assert.match(id, UUID_8)
      const same = a.topicId === b.topicId && a.partition === b.partition && a.offset === b.offset
      assert.equal(at(b.topicId, b.partition, b.offset) === id, same)
    }),
  )
})

test('the offset is read from an id by those who know topic and partition', () => {
  const offset = (1n << 62n) - 1n
  for (const one of [0n, 4_095n, offset]) {
    assert.equal(offsetInId(at(TOPIC_ID, 3, one), { topicId: TOPIC_ID, partition: 3 }), one)
  }
  const id = at(TOPIC_ID, 3, 7n)
  for (const other of [at(TOPIC_ID, 4, 7n), `${id}0`, id.slice(0, -1), `${id.slice(0, -1)}x`]) {
    assert.equal(offsetInId(other, { topicId: TOPIC_ID, partition: 3 }), undefined, other)
  }
})

test('ids of a partition sort as their offsets do, and are those of every version', () => {
  assert.equal(at(TOPIC_ID, 3, 0n), at(TOPIC_ID, 3, 0n))
  assert.ok(at(TOPIC_ID, 3, 255n) < at(TOPIC_ID, 3, 256n))
  for (let partition = 0; partition < 10_001; partition += 1) at(TOPIC_ID, partition, 0n)
  assert.match(at(TOPIC_ID, 3, 4_095n), /-8000-000000000fff$/)
})
