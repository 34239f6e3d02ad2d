import type { KeptEffect } from '../timeline/effect-rows.ts'
import type { Chosen } from './choose.ts'
import { durationText } from './duration-text.ts'
import type { AttemptFact, DeadLetterFact, HoldFact, ReplayFact } from './facts.ts'
import { applicationKey, eventKey, hasHandled, type Graph, type GraphNode } from './graph.ts'
import { jobRuns } from './job-runs.ts'
import { isUndecided, lettersOf, type LettersByPlace } from './letters.ts'
import { waitOf, type TraceNode, type Wait } from './node.ts'
import { handledAs, jobOutcome } from './outcomes.ts'

/** What is known about single nodes. */
export interface Details {
  readonly now: Date
  readonly askedNode: string | null
  readonly holds: readonly HoldFact[]
  readonly attempts: ReadonlyMap<string, readonly AttemptFact[]>
  readonly effectsOfJobs: ReadonlyMap<string, readonly KeptEffect[]>
  readonly effectsOfEvents: ReadonlyMap<string, readonly KeptEffect[]>
  readonly copies: Copies
  readonly letters: LettersByPlace
  readonly deadLetters: ReadonlyMap<bigint, DeadLetterFact>
  readonly replaysOf: ReadonlyMap<bigint, readonly ReplayFact[]>
  readonly lettersOfJobs: ReadonlyMap<string, readonly DeadLetterFact[]>
}

/**
 * Of each event and application: the records that the application read the event from, and the first of them that is shown.
 * An effect names the event, not the record.
 */
export type Copies = ReadonlyMap<string, { readonly count: number; readonly shownAt: string }>

/** See {@link Copies}. */
export function copiesOf(graph: Graph, chosen: readonly Chosen[]): Copies {
  const copies = new Map<string, { count: number; readonly shownAt: string }>()
  for (const { node } of chosen) {
    if (node?.type !== 'application' || !hasHandled(node)) continue
    const key = applicationKey(node.event.id, node.application)
    if (!copies.has(key)) copies.set(key, { count: 0, shownAt: eventKey(node.event) })
  }
  for (const node of graph.values()) {
    if (node.type !== 'application' || !hasHandled(node)) continue
    const copy = copies.get(applicationKey(node.event.id, node.application))
    if (copy !== undefined) copy.count += 1
  }
  return copies
}

type NodeOf<T extends GraphNode['type']> = Extract<GraphNode, { readonly type: T }>

/** Effects that are shown of one thing. */
const EFFECTS = 20

const EVENT_STATES = {
  log: 'in the log',
  outbox: 'in the outbox',
  gone: 'gone',
  unread: 'not read',
} as const

const EMPTY = { waits: [], runs: [], notes: [], endedAt: null, ms: null } as const

/** The node of an event. */
export function eventNode(
  { key, parent, missing, event }: NodeOf<'event'>,
  depth: number,
  { now, askedNode }: Details,
): TraceNode {
  const { topic, partition, offset, traceparent } = event
  const inOutbox = event.found === 'outbox'
  const waits = inOutbox
    ? [waitOf('outbox', 'in the outbox, not in the log yet', event.at, null, now)]
    : []
  const notes = missing === null ? [] : [causeNote(missing)]
  if (event.found === 'gone') notes.push('the record is not in the log any more')
  if (event.found === 'unread') notes.push('the record was not read')
  return {
    ...EMPTY,
    id: key,
    parent,
    depth,
    type: 'event',
    label: eventLabel(event),
    state: EVENT_STATES[event.found],
    outcome: inOutbox ? 'waiting' : 'none',
    at: event.at,
    waits,
    notes,
    ref: {
      eventId: event.id,
      topic,
      ...(partition === null ? {} : { partition }),
      ...(offset === null ? {} : { offset: String(offset) }),
      key: event.key,
      ...(traceparent === null ? {} : { traceparent }),
    },
    asked: askedNode === key,
  }
}

/** Its type; what other clients have written may have none, but for the application's own definition. */
function eventLabel({ type, topic }: NodeOf<'event'>['event']): string {
  return type ?? `(record of ${topic})`
}

function causeNote(id: string): string {
  return `caused by ${id}, which was not found`
}

/** The nodes of an application: itself, what it declared, and what it set aside. */
export function applicationNodes(
  node: NodeOf<'application'>,
  depth: number,
  details: Details,
): TraceNode[] {
  const { key, parent, event, application, handlings } = node
  const letters = lettersOf(node, details.letters)
  const { state, outcome, notes } = handledAs(node, letters)
  const first = handlings.find(({ committedAt }) => committedAt !== null)
  const endedAt = first?.committedAt ?? null
  const waiting = outcome === 'waiting'
  const waits = waiting || endedAt !== null ? logWaits(node, endedAt, details) : []
  const { effects, effectNotes } = effectsOf(node, details)
  const own: TraceNode = {
    ...EMPTY,
    id: key,
    parent,
    depth,
    type: 'application',
    label: application,
    state,
    outcome,
    at: event.at,
    endedAt,
    ms: endedAt === null ? (waiting ? +details.now - +event.at : null) : +endedAt - +event.at,
    waits,
    notes: [...notes, ...effectNotes],
    ref: { application, topic: event.topic },
    asked: details.askedNode === key,
  }
  return [
    own,
    ...effectNodes(own, effects),
    ...letters
      .flatMap(({ id }) => details.deadLetters.get(id) ?? [])
      .map((letter) => letterNode(own, letter, details)),
  ]
}

/** What an application declared for an event: once, where it read the event from several records. */
function effectsOf(
  { event, application }: NodeOf<'application'>,
  { effectsOfEvents, copies }: Details,
): { readonly effects: readonly KeptEffect[]; readonly effectNotes: readonly string[] } {
  const effects = (effectsOfEvents.get(event.id) ?? []).filter(
    (effect) => effect.application === application,
  )
  const copy = copies.get(applicationKey(event.id, application))
  if (effects.length === 0 || copy === undefined) return { effects, effectNotes: [] }
  const { count, shownAt } = copy
  if (shownAt !== eventKey(event)) {
    return { effects: [], effectNotes: [`effects of this event are shown at ${shownAt}`] }
  }
  const note = `the event was read from ${count} records, and the effects are of all of them`
  return { effects, effectNotes: count === 1 ? [] : [note] }
}

/** The wait from the record to the batch that it was handled in, with what held it up. */
function logWaits(
  { application, event, handlings }: NodeOf<'application'>,
  to: Date | null,
  { holds, now }: Details,
): Wait[] {
  const end = to ?? now
  const held = holds
    .filter(
      (hold) =>
        hold.application === application &&
        (hold.topic === null || hold.topic === event.topic) &&
        (hold.partition === null || hold.partition === event.partition) &&
        +hold.from < +end &&
        +(hold.to ?? now) > +event.at,
    )
    .map((hold) => {
      const from = +hold.from < +event.at ? event.at : hold.from
      const until = hold.to === null ? to : +hold.to > +end ? end : hold.to
      return waitOf('hold', hold.what, from, until, now)
    })
  const reason = to === null ? (handlings.at(-1)?.reason ?? null) : null
  const told = held.map(({ reason: what, ms }) => `${durationText(ms)} of it ${what}`)
  const text = ['in the log', ...(reason === null ? told : [reason])].join(', ')
  return [waitOf('log', text, event.at, to, now), ...held].filter(({ ms }) => ms > 0)
}

/** The nodes of a job: itself, what it declared, and the dead letter that it became. */
export function jobNodes(node: NodeOf<'job'>, depth: number, details: Details): TraceNode[] {
  const { key, parent, missing, job } = node
  const { now } = details
  const letters = details.lettersOfJobs.get(job.id) ?? []
  const { runs, waits } = jobRuns(job, details.attempts.get(job.id) ?? [], now, letters)
  const notes: string[] = []
  if (missing !== null) notes.push(causeNote(missing))
  if (job.origin !== null && job.origin.handler !== job.kind)
    notes.push(`handler ${job.origin.handler}`)
  if (job.origin !== null && job.origin.generation > 0)
    notes.push(`generation ${job.origin.generation}`)
  if (job.reason !== null) notes.push(job.reason)
  const own: TraceNode = {
    id: key,
    parent,
    depth,
    type: 'job',
    label: job.kind,
    state: job.state,
    outcome: jobOutcome(job),
    at: job.createdAt,
    endedAt: job.finishedAt,
    ms: Math.max(0, +(job.finishedAt ?? now) - +job.createdAt),
    waits,
    runs,
    notes,
    ref: {
      jobId: job.id,
      attempt: job.attempt,
      ...(job.application === null ? {} : { application: job.application }),
      ...(job.traceparent === null ? {} : { traceparent: job.traceparent }),
    },
    asked: details.askedNode === key,
  }
  return [
    own,
    ...effectNodes(own, details.effectsOfJobs.get(job.id) ?? []),
    ...letters.map((letter) => letterNode(own, letter, details)),
  ]
}

function effectNodes(parent: TraceNode, effects: readonly KeptEffect[]): TraceNode[] {
  const below = { ...EMPTY, parent: parent.id, depth: parent.depth + 1, asked: false } as const
  const nodes = effects.slice(0, EFFECTS).map(
    (effect, index): TraceNode => ({
      ...below,
      id: `${parent.id} effect ${index + 1}`,
      type: 'effect',
      label: effect.name,
      state: 'declared',
      outcome: 'none',
      at: effect.at,
      ref: {
        handler: effect.handler,
        ...(effect.attempt === null ? {} : { attempt: effect.attempt }),
      },
      ...(effect.details === null ? {} : { details: effect.details }),
    }),
  )
  const rest = effects.slice(EFFECTS)
  if (rest[0] !== undefined) {
    nodes.push({
      ...below,
      id: `${parent.id} more effects`,
      type: 'more',
      label: 'effect',
      state: 'declared',
      outcome: 'none',
      at: rest[0].at,
      ref: {},
      count: rest.length,
      states: { declared: rest.length },
    })
  }
  return nodes
}

function letterNode(parent: TraceNode, letter: DeadLetterFact, details: Details): TraceNode {
  const id = `dead letter ${letter.id}`
  const { error, attempts, createdAt, closedAt } = letter
  return {
    ...EMPTY,
    id,
    parent: parent.id,
    depth: parent.depth + 1,
    type: 'dead-letter',
    label: `dead letter ${letter.id}`,
    state: letter.state,
    outcome: isUndecided(letter) ? 'failed' : 'none',
    at: createdAt,
    endedAt: closedAt,
    ms: closedAt === null ? null : Math.max(0, +closedAt - +createdAt),
    notes: [
      `${letter.stage} of ${letter.handler}, ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}`,
      `${error.code ?? error.class}: ${error.message}`,
    ],
    ref: { deadLetter: String(letter.id), handler: letter.handler },
    replays: (details.replaysOf.get(letter.id) ?? []).map(({ deadLetter: _, replay, ...told }) => ({
      ...told,
      replay: String(replay),
    })),
    asked: details.askedNode === id,
  }
}

/** The node that stands for several that are not shown. */
export function moreNode({
  hidden,
  parent,
  depth,
  why,
}: Chosen & { readonly node?: never }): TraceNode {
  const first = hidden[0] as GraphNode
  const states: Record<string, number> = {}
  for (const node of hidden) {
    const state = node.type === 'job' ? node.job.state : node.type
    states[state] = (states[state] ?? 0) + 1
  }
  const label = labelOf(first)
  return {
    ...EMPTY,
    id: `${parent ?? ''} more ${first.type} ${label}`,
    parent,
    depth,
    type: 'more',
    label,
    state: why,
    outcome: 'none',
    at: first.at,
    ref: {},
    count: hidden.length,
    states,
    asked: false,
  }
}

function labelOf(node: GraphNode): string {
  switch (node.type) {
    case 'event':
      return eventLabel(node.event)
    case 'application':
      return node.application
    case 'job':
      return node.job.kind
  }
}
