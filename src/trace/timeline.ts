import { choose, type Chosen, type ShowLimits } from './choose.ts'
import type { JobFact, TraceFacts } from './facts.ts'
import { buildGraph, type Graph } from './graph.ts'
import { headline, type Branches, countBranches } from './headline.ts'
import { applicationNodes, copiesOf, eventNode, jobNodes, moreNode, type Details } from './nodes.ts'
import type { TraceNode, Wait } from './node.ts'
import { lettersByPlace, lettersOf } from './letters.ts'
import { isFinishedJob } from './outcomes.ts'

/** What led to what, as far as it is known. Plain data. */
export interface Timeline {
  /** What was asked for, as it was given. */
  readonly asked: string
  /** Id shared by everything in it. */
  readonly correlationId: string
  /** When it was looked at, by the database's clock. */
  readonly now: Date
  readonly startedAt: Date | null
  /** Null: something is not finished. */
  readonly finishedAt: Date | null
  /** From the first event to the last thing that happened, or up to now. */
  readonly totalMs: number
  /** Of those that are shown. */
  readonly longestWait: (Wait & { readonly of: string }) | null
  readonly branches: Branches
  /** The outcome in a sentence: `3 of 4 branches done; 'invoice' is retrying (2 of 10) in 38 s`. */
  readonly headline: string
  /** In the order of a tree; each tells its parent. */
  readonly nodes: readonly TraceNode[]
  /** What is not there, and why: limits that were reached, logs that did not answer. */
  readonly notes: readonly string[]
}

/** What a timeline is made of beside the facts. */
export interface TimelineOptions {
  readonly asked: string
  /** Key of the node that was asked for; null: none of its own. */
  readonly askedNode: string | null
  readonly correlationId: string
  readonly now: Date
  readonly limits: ShowLimits
  readonly notes: readonly string[]
}

/**
 * The jobs and events that a timeline of these facts shows, and the dead letters of those events: for the others nothing
 * more needs to be looked up.
 */
export function shownFacts(
  facts: TraceFacts,
  { limits, askedNode }: Pick<TimelineOptions, 'limits' | 'askedNode'>,
): Pick<TraceFacts, 'jobs' | 'events' | 'letters'> {
  const letters = lettersByPlace(facts.letters)
  const chosen = choose(buildGraph(facts), letters, limits, askedNode)
  const nodes = chosen.flatMap(({ node }) => node ?? [])
  return {
    jobs: nodes.flatMap((node) => (node.type === 'job' ? [node.job] : [])),
    events: nodes.flatMap((node) => (node.type === 'event' ? [node.event] : [])),
    letters: nodes.flatMap((node) => (node.type === 'application' ? lettersOf(node, letters) : [])),
  }
}

/** Makes the timeline out of facts. Every event, application and job of them is a node, or counted by one of type `more`. */
export function timelineOf(facts: TraceFacts, options: TimelineOptions): Timeline {
  const { now, limits, askedNode } = options
  const graph = buildGraph(facts)
  const letters = lettersByPlace(facts.letters)
  const chosen = choose(graph, letters, limits, askedNode)
  const details: Details = {
    now,
    askedNode,
    holds: facts.holds,
    attempts: Map.groupBy(facts.attempts, ({ jobId }) => jobId),
    effectsOfJobs: Map.groupBy(facts.effects, ({ jobId }) => jobId ?? ''),
    effectsOfEvents: Map.groupBy(facts.effects, ({ eventId }) => eventId ?? ''),
    copies: copiesOf(graph, chosen),
    letters,
    deadLetters: new Map(facts.deadLetters.map((one) => [one.id, one])),
    replaysOf: Map.groupBy(facts.replays, ({ deadLetter }) => deadLetter),
    lettersOfJobs: Map.groupBy(facts.deadLetters, ({ jobId }) => jobId ?? ''),
  }
  const nodes = chosen.flatMap((one) => nodesOf(one, details))
  const branches = countBranches(graph, letters)
  const startedAt = earliest(graph)
  const open =
    branches.waiting + branches.running + branches.retrying > 0 ||
    facts.events.some(({ found }) => found === 'outbox')
  const last = latest(facts, nodes, startedAt)
  return {
    asked: options.asked,
    correlationId: options.correlationId,
    now,
    startedAt,
    finishedAt: open ? null : last,
    totalMs: startedAt === null ? 0 : Math.max(0, +(open ? now : (last ?? now)) - +startedAt),
    longestWait: longest(nodes),
    branches,
    headline: headline(graph, branches, letters, now),
    nodes,
    notes: options.notes,
  }
}

function nodesOf(chosen: Chosen, details: Details): TraceNode[] {
  if (chosen.node === undefined) return [moreNode(chosen)]
  const { node, depth } = chosen
  switch (node.type) {
    case 'event':
      return [eventNode(node, depth, details)]
    case 'application':
      return applicationNodes(node, depth, details)
    case 'job':
      return jobNodes(node, depth, details)
  }
}

function earliest(graph: Graph): Date | null {
  let first: Date | null = null
  for (const { at } of graph.values()) if (first === null || +at < +first) first = at
  return first
}

function latest(facts: TraceFacts, nodes: readonly TraceNode[], since: Date | null): Date | null {
  let last = since
  const see = (time: Date | null): void => {
    if (time !== null && (last === null || +time > +last)) last = time
  }
  for (const { at } of facts.events) see(at)
  for (const job of facts.jobs) see(endOf(job))
  for (const { committedAt } of facts.handlings) see(committedAt)
  for (const { at, endedAt } of nodes) see(endedAt ?? at)
  return last
}

function endOf(job: JobFact): Date {
  return isFinishedJob(job) ? (job.finishedAt as Date) : (job.attemptedAt ?? job.createdAt)
}

function longest(nodes: readonly TraceNode[]): Timeline['longestWait'] {
  let found: Timeline['longestWait'] = null
  for (const { id, waits } of nodes) {
    for (const wait of waits) if (wait.ms > (found?.ms ?? 0)) found = { ...wait, of: id }
  }
  return found
}
