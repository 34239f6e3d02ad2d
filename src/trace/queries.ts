import { throwIfAborted } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { isWhole, Problems } from '../errors/config.ts'
import type { Log } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { parseAsked } from './asked.ts'
import type { ShowLimits } from './choose.ts'
import type { EventFact } from './facts.ts'
import { findAsked } from './find-asked.ts'
import { gatherDetails, gatherLight } from './gather.ts'
import { eventKey } from './graph.ts'
import { logRecords } from './log-records.ts'
import type { Sources, TraceMemory } from './sources.ts'
import { tableRecords } from './table-records.ts'
import { shownFacts, timelineOf, type Timeline } from './timeline.ts'

export { durationText } from './duration-text.ts'
export type { Branches } from './headline.ts'
export type { NodeOutcome, Run, TracedReplay, TraceNode, Wait, WaitKind } from './node.ts'
export type { TraceMemory } from './sources.ts'
export type { Timeline } from './timeline.ts'

/** What a trace needs. */
export interface TraceParts {
  readonly core: Core
  readonly pool: Queryable
  /** Opens the log. */
  log(): Promise<Log>
}

/** Options of {@link trace}. */
export interface TraceOptions extends Partial<ShowLimits> {
  /** Ends it, between two statements or reads. */
  readonly signal?: AbortSignal
  /** What is kept between two traces of the same thing, as when it is watched. Default: nothing. */
  readonly memory?: TraceMemory
}

const DEFAULTS: ShowLimits = { depth: 20, width: 5, nodes: 400 }

/**
 * What led to what: everything that follows from the same beginning as the event, job, dead letter or record that is asked
 * for (`topic/partition/offset`, the number of a dead letter, or an id), with times, waits and their reasons, attempts,
 * effects and outcomes. Derived from what is kept anyway; values and args are not in it.
 *
 * Costs a few dozen statements at most. Of one beginning up to 20,000 jobs and 2,000 events are looked at; jobs that are not
 * finished are looked through one after the other (a second for a backlog of a million). Events are looked for around the
 * times at which something was at work: on the table log through an index by time, on Kafka through its offsets by time.
 * What was left out is told in `notes`.
 * @throws E_TRACE_NOT_FOUND, E_DLQ_NOT_FOUND, E_CONFIG_INVALID; the signal's reason when it is aborted
 */
export async function trace(
  parts: TraceParts,
  asked: string,
  { signal, memory = new Map(), ...given }: TraceOptions = {},
): Promise<Timeline> {
  const limits = { ...DEFAULTS, ...given }
  checkLimits(limits)
  throwIfAborted(signal)
  const db = parts.pool
  const log = await parts.log()
  const notes = new Set<string>()
  const note = (text: string): void => void notes.add(text)
  const records =
    log.kind === 'table' ? tableRecords(db) : logRecords(log, await topicsThatAreRead(db))
  const sources: Sources = { db, log, records, memory, note, signal }
  const found = await findAsked(sources, parseAsked(asked))
  const now = await databaseTime(db)
  const light = await gatherLight(sources, found, now)
  const { correlationId } = light
  const askedNode = found.node ?? nodeCalled(light.facts.events, asked)
  const shown = shownFacts(light.facts, { limits, askedNode })
  const facts = await gatherDetails(sources, light.facts, shown, light.pauses)
  return timelineOf(facts, {
    asked,
    askedNode,
    correlationId,
    now,
    limits,
    notes: [...notes],
  })
}

/** Key of the event with that id, which may be known only by what followed from it. */
function nodeCalled(events: readonly EventFact[], asked: string): string | null {
  const event = events.find(({ id }) => id === asked.trim())
  return event === undefined ? null : eventKey(event)
}

function checkLimits({ depth, width, nodes }: ShowLimits): void {
  const problems = new Problems('a trace')
  problems.expect(isWhole(depth, 1, 100), 'depth', 'a whole number from 1 to 100', depth)
  problems.expect(isWhole(width, 1, 1_000), 'width', 'a whole number from 1 to 1000', width)
  problems.expect(isWhole(nodes, 10, 5_000), 'nodes', 'a whole number from 10 to 5000', nodes)
  problems.throwIfAny()
}

async function databaseTime(db: Queryable): Promise<Date> {
  const { rows } = await db.query<{ now: Date }>(
    '/* millrace:trace-now */ select clock_timestamp() as now',
  )
  return rows[0]?.now as Date
}

async function topicsThatAreRead(db: Queryable): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ topic: string }>(
    '/* millrace:trace-topics */ select distinct topic from millrace.position',
  )
  return new Set(rows.map(({ topic }) => topic))
}
