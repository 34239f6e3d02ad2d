import type { JobFact, LetterFact } from './facts.ts'
import type { GraphNode } from './graph.ts'
import { isUndecided, lettersOf, type LettersByPlace } from './letters.ts'
import type { NodeOutcome } from './node.ts'

/** Whether nothing more will happen to a job by itself. */
export function isFinishedJob({ finishedAt }: JobFact): boolean {
  return finishedAt !== null
}

/** How far a job is. */
export function jobOutcome({ state }: JobFact): NodeOutcome {
  switch (state) {
    case 'completed':
      return 'done'
    case 'cancelled':
    case 'discarded':
      return 'failed'
    case 'executing':
      return 'running'
    case 'retryable':
      return 'retrying'
    case 'available':
    case 'scheduled':
    case 'suspended':
      return 'waiting'
  }
}

/** How far a node is. */
export function outcomeOf(node: GraphNode, letters: LettersByPlace): NodeOutcome {
  switch (node.type) {
    case 'event':
      return node.event.found === 'outbox' ? 'waiting' : 'none'
    case 'application':
      return handledAs(node, lettersOf(node, letters)).outcome
    case 'job':
      return jobOutcome(node.job)
  }
}

/** What an application made of a record. */
export interface Handled {
  readonly state: string
  readonly outcome: NodeOutcome
  readonly notes: readonly string[]
}

/**
 * What an application made of a record, from the newest batch that the record was in. A batch tells how many of its records
 * came to what, and not which: where that leaves a doubt, it is said.
 */
export function handledAs(
  node: Extract<GraphNode, { readonly type: 'application' }>,
  letters: readonly Pick<LetterFact, 'state'>[],
): Handled {
  const latest = node.handlings.at(-1)
  const again = node.handlings.filter(({ state }) => state === 'handled').length
  const notes = again > 1 ? [`read ${again} times, on purpose`] : []
  if (letters.some(isUndecided)) return { state: 'set aside', outcome: 'failed', notes }
  // Before what became of its dead letter: a record that is read again is decided about again.
  if (latest?.state === 'waiting') {
    const { behind, reason } = latest
    if (behind !== null && behind > 0n)
      notes.push(`${behind} offsets before it are not read either`)
    if (reason !== null) notes.push(reason)
    return { state: 'not read yet', outcome: 'waiting', notes }
  }
  if (letters.length > 0) return { state: letters[0]?.state ?? '', outcome: 'done', notes }
  if (node.children.length > 0) return { state: 'handled', outcome: 'none', notes }
  if (latest === undefined || latest.counts === null) {
    notes.push('no batch tells when: it is not kept any more, or the application began behind it')
    return { state: 'passed', outcome: 'none', notes }
  }
  const { records, done, jobs, filtered, deadLettered, filteredBy } = latest.counts
  const why = Object.keys(filteredBy).join(', ')
  if (done + jobs + filtered === 0 && deadLettered > 0) {
    return {
      state: 'set aside',
      outcome: 'failed',
      notes: [...notes, 'its dead letter was not found'],
    }
  }
  if (filtered === 0) return { state: 'done', outcome: 'done', notes }
  if (done + jobs + deadLettered === 0)
    return { state: 'filtered', outcome: 'done', notes: [...notes, why] }
  notes.push(`of the ${records} records of its batch ${filtered} were filtered: ${why}`)
  return { state: 'done or filtered', outcome: 'done', notes }
}
