import { durationText } from './duration-text.ts'
import type { JobFact } from './facts.ts'
import type { Graph, GraphNode } from './graph.ts'
import { isSnoozed } from './job-runs.ts'
import { lettersOf, type LettersByPlace } from './letters.ts'
import { handledAs, outcomeOf } from './outcomes.ts'

/** How far the branches are: every job is one, and every application that made no job of the event it was to read. */
export interface Branches {
  readonly total: number
  readonly done: number
  readonly waiting: number
  readonly running: number
  readonly retrying: number
  readonly failed: number
}

/** Counts all that was found, shown or not. */
export function countBranches(graph: Graph, letters: LettersByPlace): Branches {
  const counts = { total: 0, done: 0, waiting: 0, running: 0, retrying: 0, failed: 0 }
  for (const node of graph.values()) {
    const outcome = node.type === 'event' ? 'none' : outcomeOf(node, letters)
    if (outcome === 'none') continue
    counts.total += 1
    counts[outcome] += 1
  }
  return counts
}

/** Branches that are told one by one. */
const TOLD = 3

/** The outcome in a sentence: how many are done, and what the first of the others do. */
export function headline(
  graph: Graph,
  branches: Branches,
  letters: LettersByPlace,
  now: Date,
): string {
  const { total, done } = branches
  if (total === 0) return 'nobody has done anything about it'
  const parts = [
    done === total && total === 1
      ? 'the only branch is done'
      : `${done === total ? 'all' : `${done} of`} ${total} ${total === 1 ? 'branch' : 'branches'} done`,
  ]
  const told = new Map<string, number>()
  for (const node of graph.values()) {
    const text = openText(node, letters, now)
    if (text !== null) told.set(text, (told.get(text) ?? 0) + 1)
  }
  const texts = [...told].map(([text, times]) => (times === 1 ? text : `${text} (${times} times)`))
  parts.push(...texts.slice(0, TOLD))
  if (texts.length > TOLD) parts.push(`and ${texts.length - TOLD} more`)
  return parts.join('; ')
}

function openText(node: GraphNode, letters: LettersByPlace, now: Date): string | null {
  if (node.type === 'event') {
    return node.event.found === 'outbox' ? `'${node.event.type ?? 'event'}' is in the outbox` : null
  }
  if (node.type === 'job') return jobText(node.job, now)
  const { outcome, notes } = handledAs(node, lettersOf(node, letters))
  if (outcome === 'failed') return `'${node.application}' set it aside`
  if (outcome !== 'waiting') return null
  return `'${node.application}' has not read it${notes.length === 0 ? '' : ` (${notes.at(-1) ?? ''})`}`
}

function jobText(job: JobFact, now: Date): string | null {
  const { kind, state, attempt, maxAttempts, scheduledAt } = job
  const left = +scheduledAt - +now
  const when = left > 0 ? `in ${durationText(left)}` : 'now'
  switch (state) {
    case 'completed':
      return null
    case 'retryable':
      return `'${kind}' is retrying (${attempt + 1} of ${maxAttempts}) ${when}`
    case 'scheduled':
      return isSnoozed(job) ? `'${kind}' sleeps, and goes on ${when}` : `'${kind}' is due ${when}`
    case 'available':
      return `'${kind}' waits in queue '${job.queue}'`
    case 'executing':
      return `'${kind}' is running (${attempt} of ${maxAttempts})`
    case 'suspended':
      return `'${kind}' is suspended`
    case 'cancelled':
      return `'${kind}' was cancelled`
    case 'discarded':
      return `'${kind}' gave up after ${attempt} ${attempt === 1 ? 'attempt' : 'attempts'}`
  }
}
