import assert from 'node:assert/strict'
import test from 'node:test'
import type { DeadLetterDump, RecordDump } from '../../support/checker/dumps.ts'
import type { Invariant } from '../../support/checker/verdict.ts'
import { broken, noted, replace } from './alter.ts'
import { move, produced, TOPIC, type World } from './world.ts'

const LANE = { application: 'app', topicId: TOPIC, partition: 0 }

/** The last record, which was handled, is lost; another that nobody handles stands in its place. */
function loseTail({ history, dumps }: World): void {
  replace(dumps.records, ({ offset }) => offset === 2n, { until: 0 })
  const anew: RecordDump = { topicId: TOPIC, partition: 0, offset: 2n, ...NEW, since: 1 }
  dumps.records.push(anew)
  history.push(produced(2n, { ...NEW, seqInKey: 3, dispositions: { '*': 'filtered' } }))
  replace(dumps.positions, () => true, { generation: 1, epoch: 3n })
  dumps.actionTransitions.push(noted('move-5', 'consumers.resolve'))
  dumps.positionTransitions.push(
    move(5, 2n, { actor: 'operator', owner: null, epoch: 2n, generation: 1 }),
    move(6, 2n, { epoch: 3n, generation: 1 }),
    move(7, 3n, { epoch: 3n, generation: 1 }),
  )
}

const NEW = { id: 'event-new', key: 'k', sha256: 'hash-new' }

/** An operator ordered to read again from behind the last record that is as it was. */
function rewind(world: World): void {
  loseTail(world)
  const { dumps } = world
  dumps.moves.push({ ...LANE, generation: 0, position: 3n, to: 2n, givenUp: 0n })
  dumps.batches.push({
    ...LANE,
    generation: 1,
    first: 2n,
    next: 3n,
    records: 1,
    done: 0,
    jobs: 0,
    filtered: 1,
    deadLettered: 0,
  })
}

/** An operator gave up what stands in the place of what was handled. */
function accept(world: World, givenUp: bigint | null = 1n): void {
  loseTail(world)
  const { dumps } = world
  dumps.moves.push({ ...LANE, generation: 0, position: 3n, to: 3n, givenUp })
  dumps.positionTransitions.splice(-3)
  dumps.positionTransitions.push(
    move(5, 3n, { actor: 'operator', owner: null, epoch: 2n, generation: 1 }),
    move(6, 3n, { epoch: 3n, generation: 1 }),
  )
}

const after = (
  decide: (world: World) => void,
  alter: (world: World) => void,
): readonly Invariant[] =>
  broken((world) => {
    decide(world)
    alter(world)
  })

test('accepts that the log lost what it was seen to have, when that was decided about', () => {
  assert.deepEqual(broken(rewind), [])
  assert.deepEqual(broken(accept), [])
})

test('finds an acknowledged record that is gone and was not seen to be lost (I14)', () => {
  const found = after(rewind, ({ history }) => history.push(produced(7n)))
  assert.deepEqual(found, ['I14'])
})

test('finds a record that is still there although it is said to be lost (I14)', () => {
  const found = after(rewind, ({ dumps }) => {
    const lost = dumps.records.find(({ until }) => until !== undefined) as RecordDump
    dumps.records.push({ ...lost, offset: 9n, until: 1 })
  })
  assert.deepEqual(found, ['I14'])
})

test('finds what was handled before anybody had decided, of what took the place of the lost (I1)', () => {
  const found = after(rewind, ({ dumps }) => {
    // The first record behind all that there had been, in a batch of the owner who had not noticed.
    dumps.records.push({ topicId: TOPIC, partition: 0, offset: 3n, ...NEW, since: 1 })
    const counts = { records: 1, done: 0, jobs: 0, filtered: 1, deadLettered: 0 }
    dumps.batches.push({ ...LANE, generation: 0, first: 3n, next: 4n, ...counts })
    replace(dumps.moves, () => true, { position: 4n })
  })
  assert.ok(found.includes('I1'))
})

test('finds that what took the place of the lost was passed over, and nobody gave it up (I1)', () => {
  assert.deepEqual(
    broken((world) => accept(world, 0n)),
    ['I1'],
  )
})

test('finds a dead letter of a lost record with the bytes of what took its place (I8)', () => {
  const letter: DeadLetterDump = {
    id: 1n,
    application: 'app',
    handler: 'mail',
    stage: 'job',
    topicId: TOPIC,
    partition: 0,
    offset: 2n,
    generation: 0,
    key: 'k',
    sha256: null,
    jobId: 'job-2',
    state: 'open',
  }
  const discarded = ({ dumps }: World, sha256: string): void => {
    replace(dumps.jobs, ({ id }) => id === 'job-2', { state: 'discarded' })
    dumps.effects = dumps.effects.filter(({ jobId }) => jobId !== 'job-2')
    dumps.deadLetters.push({ ...letter, sha256 })
  }
  assert.deepEqual(
    after(rewind, (world) => discarded(world, 'hash-2')),
    [],
  )
  assert.deepEqual(
    after(rewind, (world) => discarded(world, 'hash-new')),
    ['I8'],
  )
})
