import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { assign, type PartitionName } from '../../../src/consumer/assignment.ts'

const partitions = (count: number): PartitionName[] =>
  Array.from({ length: count }, (_, i) => `topic:${i}` as const)

describe('sharing partitions out', () => {
  it('gives every partition to exactly one process, nobody more than the fair share rounded up', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 60 }),
        fc.uniqueArray(fc.uuid(), { minLength: 1, maxLength: 12 }),
        (count, processes) => {
          const assigned = assign(partitions(count), processes)
          assert.equal(assigned.size, count)
          const loads = Map.groupBy(assigned.values(), (process) => process)
          for (const [process, load] of loads) {
            assert.ok(processes.includes(process))
            assert.ok(load.length <= Math.ceil(count / processes.length))
          }
        },
      ),
    )
  })

  it('does not depend on the order in which anybody lists partitions or processes', () => {
    fc.assert(
      fc.property(
        fc
          .uniqueArray(fc.uuid(), { minLength: 1, maxLength: 8 })
          .chain((p) => fc.tuple(fc.constant(p), fc.shuffledSubarray(p, { minLength: p.length }))),
        fc.shuffledSubarray(partitions(12), { minLength: 12 }),
        ([processes, shuffled], mixed) => {
          assert.deepEqual(assign(mixed, shuffled), assign(partitions(12), processes))
        },
      ),
    )
  })

  it('moves few partitions when a process goes', () => {
    const processes = Array.from({ length: 5 }, (_, i) => `process-${i}`)
    const before = assign(partitions(100), processes)
    const after = assign(partitions(100), processes.slice(1))
    const moved = [...before].filter(
      ([name, owner]) => owner !== 'process-0' && after.get(name) !== owner,
    )
    assert.ok(moved.length <= 25, `${moved.length} of 80 moved`)
  })

  it('gives nothing to nobody', () => {
    assert.equal(assign(partitions(3), []).size, 0)
  })
})
