import assert from 'node:assert/strict'
import test from 'node:test'
import type { Invariant } from '../../support/checker/verdict.ts'
import { alterEntry, broken, letter, replace } from './alter.ts'
import { job, origin, type World } from './world.ts'

/** The second record is a copy of the first, and handlers that handle an event once have left it out. */
function copied(alter: (world: World) => void = () => {}): Invariant[] {
  return broken((made) => {
    alterEntry(made, 'run', { onceHandlers: ['mail', 'ledger'] })
    alterEntry(made, 'produce', { copies: 2 })
    made.history.splice(2, 1)
    replace(made.dumps.records, ({ offset }) => offset === 1n, { id: 'event-0', sha256: 'hash-0' })
    leaveOut(made, 1n)
    replace(made.dumps.batches, ({ first }) => first === 0n, { done: 1, jobs: 1, filtered: 2 })
    alter(made)
  })
}

/** Takes away what was made of a record. */
function leaveOut({ history, dumps }: World, offset: bigint): void {
  const isIts = ({ origin: at }: { origin: { offset: bigint } | null }): boolean =>
    at?.offset === offset
  dumps.jobs = dumps.jobs.filter((one) => !isIts(one))
  dumps.jobTransitions = dumps.jobTransitions.filter((one) => !isIts(one))
  dumps.effects = dumps.effects.filter(
    (one) => one.offset !== offset && one.jobId !== `job-${offset}`,
  )
  history.splice(
    0,
    history.length,
    ...history.filter((entry) => entry.entry !== 'effect' || entry.jobId !== `job-${offset}`),
  )
}

test('takes a copy that is left out by handlers that handle an event once for filtered', () => {
  assert.deepEqual(copied(), [])
})

test('finds a copy that is handled by a handler that handles an event once (I2)', () => {
  assert.ok(
    copied(({ dumps }) => {
      dumps.jobs.push(job(1n, { id: 'job-1', origin: { ...origin(1n) } }))
    }).includes('I2'),
  )
  assert.ok(
    copied(({ dumps }) => {
      dumps.effects.push({
        ...(dumps.effects[0] as World['dumps']['effects'][number]),
        seq: 20n,
        offset: 1n,
      })
    }).includes('I2'),
  )
})

test('finds a dead letter of one copy beside what was made of the other (I2)', () => {
  const found = copied(({ dumps }) => {
    dumps.deadLetters.push({ ...letter('ledger'), offset: 1n })
  })
  assert.ok(found.includes('I2'))
})

test('finds an event of which no copy is handled (I1)', () => {
  const found = copied((made) => {
    leaveOut(made, 0n)
    replace(made.dumps.batches, ({ first }) => first === 0n, { done: 0, jobs: 0, filtered: 4 })
  })
  assert.ok(found.includes('I1'))
})

test('judges copies by their places where no handler handles an event once', () => {
  assert.ok(copied((made) => alterEntry(made, 'run', { onceHandlers: [] })).includes('I1'))
})

test('judges what a replay handles for itself (I2)', () => {
  const replayed = (offset: bigint, id: string): Partial<World['dumps']['jobs'][number]> => ({
    id,
    origin: { ...origin(offset), generation: -7 },
  })
  const isI2 = (...made: readonly (readonly [bigint, string])[]): boolean =>
    copied(({ dumps }) => {
      for (const [offset, id] of made) dumps.jobs.push(job(offset, replayed(offset, id)))
    }).includes('I2')
  assert.equal(isI2([1n, 'job-a']), false)
  assert.equal(isI2([0n, 'job-a'], [1n, 'job-b']), true)
})
