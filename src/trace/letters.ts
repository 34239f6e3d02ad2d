import type { LetterFact } from './facts.ts'
import { applicationKey, recordKey, type GraphNode } from './graph.ts'

/** Which records were set aside, by where they stand and by which application. */
export type LettersByPlace = ReadonlyMap<string, readonly LetterFact[]>

/** Dead letters by the record and the application that they are of. */
export function lettersByPlace(letters: readonly LetterFact[]): LettersByPlace {
  return Map.groupBy(letters, ({ topicId, partition, offset, application }) =>
    applicationKey(recordKey(topicId, partition, offset), application ?? ''),
  )
}

/** Those of a record for an application. */
export function lettersOf(
  { event, application }: Extract<GraphNode, { readonly type: 'application' }>,
  letters: LettersByPlace,
): readonly LetterFact[] {
  const { topicId, partition, offset } = event
  if (topicId === null || partition === null || offset === null) return []
  return letters.get(applicationKey(recordKey(topicId, partition, offset), application)) ?? []
}

/** Whether somebody has still to decide what becomes of a record or job that was set aside. */
export function isUndecided({ state }: Pick<LetterFact, 'state'>): boolean {
  return state === 'open' || state === 'parked'
}
