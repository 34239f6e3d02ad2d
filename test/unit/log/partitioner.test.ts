import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { seededRandom } from '../../../src/core/random.ts'
import { murmur2, partitionOf } from '../../../src/log/partitioner.ts'

const random = seededRandom(7)

test('murmur2 gives what the test of Kafka itself expects', () => {
  // org.apache.kafka.common.utils.UtilsTest#testMurmur2
  const cases: readonly [string, number][] = [
    ['21', -973_932_308],
    ['foobar', -790_332_482],
    ['a-little-bit-long-string', -985_981_536],
    ['a-little-bit-longer-string', -1_486_304_829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58_897_971],
    ['abc', 479_470_107],
  ]
  for (const [key, hash] of cases) assert.equal(murmur2(Buffer.from(key)), hash, key)
})

test('a key has one partition, and an empty key too', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.integer({ min: 1, max: 1_024 }), (key, partitions) => {
      const partition = partitionOf(key, partitions, random)
      assert.ok(Number.isInteger(partition) && partition >= 0 && partition < partitions)
      assert.equal(partitionOf(Uint8Array.from(key), partitions, random), partition)
    }),
  )
})

test('records without a key are spread over all partitions', () => {
  const drawn = new Set(Array.from({ length: 200 }, () => partitionOf(null, 6, random)))
  assert.deepEqual([...drawn].sort(), [0, 1, 2, 3, 4, 5])
})
