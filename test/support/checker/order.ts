import { placeOf, type Dumps, type EffectDump } from './dumps.ts'
import { entriesOf, runOf, type ExecutedEntry, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I6: an ordered handler writes the effects of one key in the order of their offsets, and the executions that wrote them
 * follow each other without overlapping. Executions that were rolled back are nobody's: a process that was stopped in
 * the middle may well run beside its successor, as long as nothing of it stays. What is read again on purpose is in order
 * within its generation, and comes after all of the generation before. In a run that relocates keys, each place of a key
 * has an order of its own.
 */
export function checkOrder(history: readonly HistoryEntry[], dumps: Dumps): readonly Violation[] {
  const { found, note } = collect('I6')
  const { orderedHandlers, relocates = false } = runOf(history)
  const executed = new Map(entriesOf(history, 'executed').map((entry) => [entry.execution, entry]))
  const produced = new Map(entriesOf(history, 'produce').map((entry) => [entry.id, entry]))
  const keyed = dumps.effects.filter(
    ({ source, name, key }) =>
      source === 'record' && key !== null && orderedHandlers.includes(name),
  )
  const laneOf = ({ name, key, topicId, partition }: EffectDump): string =>
    relocates ? `${name}, key ${key} in ${topicId}/${partition}` : `${name}, key ${key}`
  for (const [lane, effects] of Map.groupBy(keyed, laneOf)) {
    const inOrder = effects.toSorted((a, b) => (a.seq < b.seq ? -1 : 1))
    for (const [index, effect] of inOrder.entries()) {
      const before = inOrder[index - 1]
      if (before === undefined) continue
      note(
        before.topicId === effect.topicId && before.partition === effect.partition,
        () => `${lane}: ${placeOf(before)} and ${placeOf(effect)} are in two partitions`,
      )
      const isSame = before.generation === effect.generation
      note(
        isSame || (before.generation ?? 0) < (effect.generation ?? 0),
        () =>
          `${lane}: ${placeOf(effect)} of generation ${effect.generation} was applied after ${placeOf(before)} of generation ${before.generation}`,
      )
      note(
        !isSame || (before.offset ?? 0n) < (effect.offset ?? 0n),
        () => `${lane}: ${placeOf(effect)} was applied after ${placeOf(before)}`,
      )
      const earlier = produced.get(before.eventId)
      const later = produced.get(effect.eventId)
      note(
        !isSame ||
          earlier === undefined ||
          later === undefined ||
          later.copies !== undefined ||
          earlier.seqInKey < later.seqInKey,
        () => `${lane}: number ${later?.seqInKey} was applied after number ${earlier?.seqInKey}`,
      )
      const [first, second] = [executionOf(before, executed), executionOf(effect, executed)]
      if (first === undefined || second === undefined) continue
      note(
        BigInt(first.end) <= BigInt(second.start),
        () =>
          `${lane}: ${placeOf(effect)} began in ${second.worker} while ${placeOf(before)} was still executed in ${first.worker}`,
      )
    }
  }
  return found
}

function executionOf(
  { execution }: EffectDump,
  executed: ReadonlyMap<string, ExecutedEntry>,
): ExecutedEntry | undefined {
  return execution === null ? undefined : executed.get(execution)
}
