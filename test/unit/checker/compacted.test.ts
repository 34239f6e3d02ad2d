import assert from 'node:assert/strict'
import test from 'node:test'
import { broken, replace } from './alter.ts'
import type { World } from './world.ts'

/** Compaction took the record at offset 1 before anybody had read it. */
function compacted({ history, dumps }: World): void {
  const isGone = (id: string): boolean => id.endsWith('-1')
  replace(dumps.records, ({ offset }) => offset === 1n, { until: -1 })
  replace(dumps.batches, ({ first }) => first === 0n, { records: 1, done: 1, jobs: 1 })
  dumps.jobs = dumps.jobs.filter(({ id }) => !isGone(id))
  dumps.jobTransitions = dumps.jobTransitions.filter(({ id }) => !isGone(id))
  dumps.effects = dumps.effects.filter(({ eventId }) => !isGone(eventId))
  const left = history.filter((entry) => !(entry.entry === 'effect' && isGone(entry.jobId)))
  history.splice(0, history.length, ...left)
}

test('accepts that a record was gone before anybody had read it', () => {
  assert.deepEqual(broken(compacted), [])
})

test('finds a batch that counts a record which was gone (I1)', () => {
  const found = broken((world) => {
    compacted(world)
    replace(world.dumps.batches, ({ first }) => first === 0n, { records: 2, filtered: 2 })
  })
  assert.deepEqual(found, ['I1'])
})

test('finds what was made of a record that was gone (I1)', () => {
  const found = broken((world) => {
    const { effects } = world.dumps
    const made = effects.filter(({ source, offset }) => source === 'record' && offset === 1n)
    compacted(world)
    world.dumps.effects.push(...made)
  })
  assert.deepEqual(found, ['I1'])
})
