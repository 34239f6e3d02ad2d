import {
  isGoneUnread,
  isSkipped,
  laneOf,
  partitionOf,
  placeOf,
  readIn,
  type Dumps,
} from './dumps.ts'
import { entriesOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I3: a position is the next offset of its last batch, never moves back within a generation (as the shadow table saw
 * every change of it, and as the test saw it from time to time), and never lies behind the end of the log. A generation
 * begins where an operator moved the position to, and the one before ends where he moved it from. What Kafka has committed
 * for the application was never ahead of the position; of one that an operator moved, ahead of all that it has been.
 */
export function checkPositions(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I3')
  const highest = new Map<string, bigint>()
  for (const seen of dumps.positionTransitions.toSorted((a, b) => (a.seq < b.seq ? -1 : 1))) {
    const lane = laneOf(seen)
    const before = highest.get(lane)
    note(
      before === undefined || seen.next >= before,
      () => `${lane}: ${seen.actor} moved the position back from ${before} to ${seen.next}`,
    )
    if (before === undefined || seen.next > before) highest.set(lane, seen.next)
  }
  const sampled = new Map<string, bigint>()
  for (const sample of entriesOf(history, 'sample')) {
    const lane = laneOf(sample)
    const next = BigInt(sample.next)
    const before = sampled.get(lane)
    note(
      before === undefined || next >= before,
      () => `${lane}: was seen at ${before}, then at ${next}`,
    )
    sampled.set(lane, next)
  }
  for (const position of dumps.positions) {
    const lane = laneOf(position)
    const batches = dumps.batches.filter((batch) => laneOf(batch) === lane)
    const next = batches.reduce((max, batch) => (batch.next > max ? batch.next : max), 0n)
    note(
      batches.length === 0 || next === position.next,
      () => `${lane}: the position is ${position.next}, its last batch ends at ${next}`,
    )
    note(
      position.next <= position.end,
      () => `${lane}: the position is ${position.next}, the log ends at ${position.end}`,
    )
    const seen = sampled.get(lane)
    note(
      seen === undefined || seen <= position.next,
      () => `${lane}: was seen at ${seen}, and ends at ${position.next}`,
    )
    for (const record of dumps.records) {
      const isBelow =
        record.topicId === position.topicId &&
        record.partition === position.partition &&
        record.offset < position.next
      if (!isBelow || batches.length === 0) continue
      note(
        isGoneUnread(record) ||
          readIn(dumps, position, record).size > 0 ||
          isSkipped(dumps, position, record.offset),
        () => `${lane}: the position has passed ${placeOf(record)}, which is in no batch`,
      )
    }
  }
  checkCommitted(history, dumps, note)
  checkMoves(dumps, note)
  return found
}

function checkCommitted(
  history: readonly HistoryEntry[],
  dumps: Dumps,
  note: (holds: boolean, witness: () => string) => void,
): void {
  const changes = Map.groupBy(dumps.positionTransitions, partitionOf)
  for (const sample of entriesOf(history, 'committed')) {
    // Kafka hears of a move at the next batch only.
    const moved = sample.generation === 0 ? [] : (changes.get(partitionOf(sample)) ?? [])
    const most = moved.reduce((max, { next }) => (next > max ? next : max), BigInt(sample.next))
    note(
      BigInt(sample.committed) <= most,
      () => `${laneOf(sample)}: Kafka had committed ${sample.committed}, the position was ${most}`,
    )
  }
}

function checkMoves(dumps: Dumps, note: (holds: boolean, witness: () => string) => void): void {
  for (const [partition, changes] of Map.groupBy(dumps.positionTransitions, partitionOf)) {
    for (const generation of new Set(changes.map((change) => change.generation))) {
      const moves = dumps.moves.filter(
        (move) => partitionOf(move) === partition && move.generation + 1 === generation,
      )
      note(
        generation === 0 || moves.length === 1,
        () => `${partition} is in generation ${generation}, by ${moves.length} orders`,
      )
    }
  }
  for (const move of dumps.moves) {
    const after = { ...move, generation: move.generation + 1 }
    const ended = dumps.batches.filter((batch) => laneOf(batch) === laneOf(move))
    const begun = dumps.batches.filter((batch) => laneOf(batch) === laneOf(after))
    const end = ended.reduce((max, { next }) => (next > max ? next : max), 0n)
    const first = begun.reduce((min, batch) => (batch.first < min ? batch.first : min), end)
    note(
      ended.length === 0 || end === move.position,
      () => `${laneOf(move)} was ended at ${move.position}, its last batch ends at ${end}`,
    )
    note(
      begun.length === 0 || begun.some((batch) => batch.first === move.to),
      () => `${laneOf(after)} was begun at ${move.to}, its first batch begins at ${first}`,
    )
  }
}
