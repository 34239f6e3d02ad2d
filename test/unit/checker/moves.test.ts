import assert from 'node:assert/strict'
import test from 'node:test'
import type { HistoryEntry } from '../../support/checker/history.ts'
import { broken, noted, replace } from './alter.ts'
import { job, lifeOf, move, origin, TOPIC, type World } from './world.ts'

/** After the three records were read, an operator moved the position back to offset 1. */
function readAgain({ history, dumps }: World): void {
  const lane = { application: 'app', topicId: TOPIC, partition: 0, generation: 1 }
  dumps.moves.push({ ...lane, generation: 0, position: 3n, to: 1n, givenUp: null })
  dumps.batches.push({
    ...lane,
    first: 1n,
    next: 3n,
    records: 2,
    done: 2,
    jobs: 2,
    filtered: 0,
    deadLettered: 0,
  })
  replace(dumps.positions, () => true, { generation: 1, epoch: 3n })
  dumps.actionTransitions.push(noted('move-5', 'consumers.seek'))
  dumps.positionTransitions.push(
    move(5, 1n, { actor: 'operator', owner: null, epoch: 2n, generation: 1 }),
    move(6, 1n, { epoch: 3n, generation: 1 }),
    move(7, 3n, { epoch: 3n, generation: 1 }),
  )
  for (const offset of [1n, 2n]) {
    const id = `job-${offset}-again`
    const again = { ...origin(offset), generation: 1 }
    dumps.jobs.push(job(offset, { id, origin: again }))
    dumps.jobTransitions.push(
      ...lifeOf(100 + Number(offset) * 10, offset).map((change) => ({
        ...change,
        id,
        origin: again,
      })),
    )
    const effects = dumps.effects.filter(({ eventId }) => eventId === `event-${offset}`)
    dumps.effects.push(
      ...effects.map((effect) =>
        effect.source === 'job'
          ? { ...effect, seq: effect.seq + 50n, jobId: id }
          : { ...effect, seq: effect.seq + 50n, generation: 1, execution: `again-${offset}` },
      ),
    )
    history.push(
      {
        entry: 'executed',
        execution: `again-${offset}`,
        handler: 'ledger',
        key: 'k',
        worker: 'w1',
        start: String(100n + offset * 10n),
        end: String(100n + offset * 10n + 5n),
      },
      {
        entry: 'effect',
        idempotencyKey: `key-${offset}-again`,
        jobId: id,
        attempt: 1,
        appliedAt: 50,
        applied: true,
      } satisfies HistoryEntry,
    )
  }
}

const moved = (alter: (world: World) => void): string[] =>
  broken((world) => {
    readAgain(world)
    alter(world)
  })

/** An operator moved the position ahead, so that the record at offset 2 is read and that at offset 1 never. */
function skipOne({ history, dumps }: World): void {
  const isSecond = (id: string): boolean => id.endsWith('-1')
  dumps.moves.push({
    application: 'app',
    topicId: TOPIC,
    partition: 0,
    generation: 0,
    position: 1n,
    to: 2n,
    givenUp: null,
  })
  replace(dumps.batches, ({ first }) => first === 0n, { next: 1n, records: 1, done: 1, jobs: 1 })
  replace(dumps.batches, ({ first }) => first === 2n, { generation: 1 })
  replace(dumps.positions, () => true, { generation: 1, epoch: 3n })
  dumps.actionTransitions.push(noted('move-4', 'consumers.seek'))
  dumps.positionTransitions.splice(
    2,
    2,
    move(3, 1n),
    move(4, 2n, { actor: 'operator', owner: null, epoch: 2n, generation: 1 }),
    move(5, 2n, { epoch: 3n, generation: 1 }),
    move(6, 3n, { epoch: 3n, generation: 1 }),
  )
  dumps.jobs = dumps.jobs.filter(({ id }) => !isSecond(id))
  dumps.jobTransitions = dumps.jobTransitions.filter(({ id }) => !isSecond(id))
  dumps.effects = dumps.effects.filter(({ eventId }) => !isSecond(eventId))
  const again = { ...origin(2n), generation: 1 }
  replace(dumps.jobs, ({ id }) => id === 'job-2', { origin: again })
  dumps.jobTransitions = dumps.jobTransitions.map((change) =>
    change.id === 'job-2' ? { ...change, origin: again } : change,
  )
  replace(dumps.effects, ({ source, offset }) => source === 'record' && offset === 2n, {
    generation: 1,
  })
  const left = history.filter((entry) => !(entry.entry === 'effect' && isSecond(entry.jobId)))
  // What was seen before the move was of the first generation.
  history.splice(0, history.length, ...left.filter(({ entry }) => entry !== 'sample'))
}

test('accepts what is read again on purpose, and what is skipped on purpose', () => {
  assert.deepEqual(broken(readAgain), [])
  assert.deepEqual(broken(skipOne), [])
})

test('finds a record that was skipped and that nobody said to skip (I1, I3)', () => {
  const found = broken((world) => {
    skipOne(world)
    world.dumps.moves = []
  })
  assert.deepEqual(found, ['I1', 'I3'])
})

test('finds a record that was passed over when it was read again (I1)', () => {
  const found = moved(({ dumps }) => {
    dumps.effects = dumps.effects.filter(
      ({ generation, offset }) => !(generation === 1 && offset === 2n),
    )
  })
  assert.deepEqual(found, ['I1'])
})

test('finds an effect of a generation in which its record was not read (I1)', () => {
  const found = moved(({ dumps }) => {
    const first = dumps.effects.find(({ generation, offset }) => generation === 0 && offset === 0n)
    if (first !== undefined) dumps.effects.push({ ...first, seq: 49n, generation: 1 })
  })
  assert.ok(found.includes('I1'))
})

test('finds a generation that nobody ordered, and one that begins elsewhere (I3)', () => {
  assert.deepEqual(
    moved(({ dumps }) => {
      dumps.moves = []
    }),
    ['I3'],
  )
  assert.deepEqual(
    moved(({ dumps }) => replace(dumps.moves, () => true, { to: 0n })),
    ['I3'],
  )
})

test('finds a batch that an owner committed after his partition had been moved (I7)', () => {
  const found = moved(({ dumps }) => {
    replace(dumps.positionTransitions, ({ seq }) => seq === 6n, { owner: 'p1', epoch: 1n })
  })
  assert.ok(found.includes('I7'))
})

test('finds effects of an older generation among those of a newer (I6)', () => {
  const found = moved(({ dumps }) => {
    replace(dumps.effects, ({ source, generation }) => source === 'record' && generation === 0, {
      seq: 90n,
    })
  })
  assert.deepEqual(found, ['I6'])
})

/** Kafka was seen to have committed an offset while the position was at `next`. */
function committed(offset: number, next: number, generation = 0): HistoryEntry {
  const lane = { application: 'app', topicId: TOPIC, partition: 0, generation }
  return { entry: 'committed', ...lane, committed: `${offset}`, next: `${next}` }
}

test('finds an offset that Kafka had committed ahead of the position (I3)', () => {
  assert.deepEqual(
    broken(({ history }) => void history.push(committed(0, 0), committed(2, 2), committed(2, 3))),
    [],
  )
  assert.deepEqual(
    broken(({ history }) => void history.push(committed(3, 2), committed(3, 3))),
    ['I3'],
  )
})

test('lets Kafka hear late of a position that was moved back, but of none that never was (I3)', () => {
  assert.deepEqual(
    moved(({ history }) => void history.push(committed(3, 1, 1))),
    [],
  )
  assert.deepEqual(
    moved(({ history }) => void history.push(committed(4, 1, 1))),
    ['I3'],
  )
})
