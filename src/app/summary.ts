import { METRICS, readCounts } from '../counts/counts.ts'
import {
  readDeadLetterGroups,
  readOpenDeadLetters,
  type DeadLetterGroup,
} from '../counts/dead-letter-groups.ts'
import type { Core } from '../core/core.ts'
import { listConsumers, type ConsumerSummary } from '../consumer/queries.ts'
import type { Log } from '../log/port.ts'
import { summarizeOutbox } from '../outbox/queries.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** What has been done since the first start, over all processes, and what is left. */
export interface Summary {
  readonly at: Date
  /** Records appended to the table log, or to the outbox, by anybody. */
  readonly events: number
  /** Records that handlers took, per handler: done or made into jobs. */
  readonly handled: number
  readonly filtered: number
  readonly jobsCompleted: number
  readonly attemptsFailed: number
  /** Dead letters written, in all. */
  readonly deadLetters: number
  /** Those that are open now. */
  readonly deadLettersOpen: number
  /** Those that have failed in as many replays as were allowed, and wait for somebody. */
  readonly deadLettersParked: number
  /** Those that became open within the last hour, to the minute. */
  readonly deadLettersLastHour: number
  /** How long the oldest open one has been one, in milliseconds. Null: none is open. */
  readonly deadLetterAgeMs: number | null
  /** The applications and fingerprints with most open ones, most first; at most 10. */
  readonly deadLetterGroups: readonly DeadLetterGroup[]
  /** Jobs not finished. */
  readonly backlog: number
  /** Records not yet read, over all applications. `null`: the log cannot say just now. */
  readonly lag: number | null
  /** Partitions that are stopped until somebody decides, over all applications. */
  readonly partitionsHalted: number
  /** Records in the outbox, not yet known to be in the log. */
  readonly outbox: number
  /** How long the oldest of them has waited, in milliseconds. Null: none waits. */
  readonly outboxAgeMs: number | null
  /** Shards of the outbox that are stopped until somebody decides. */
  readonly outboxHalted: number
}

/** Groups of dead letters in a summary. */
const GROUPS = 10

/** The summary as of now. */
export async function summarize(core: Core, db: Queryable, log: Log): Promise<Summary> {
  const counts = await readCounts(db)
  const consumers = await listConsumers(db, log)
  const outbox = await summarizeOutbox(db)
  const open = await readOpenDeadLetters(db)
  const ages = open.flatMap(({ oldestAgeMs }) => oldestAgeMs ?? [])
  const sum = (...metrics: readonly string[]): number =>
    counts.reduce(
      (total, { metric, value }) => (metrics.includes(metric) ? total + value : total),
      0,
    )
  return {
    at: core.clock.now(),
    events: sum(METRICS.eventsPublished),
    handled: sum(METRICS.recordsDone, METRICS.recordsJobs),
    filtered: sum(METRICS.recordsFiltered),
    jobsCompleted: sum(METRICS.jobsCompleted),
    attemptsFailed: sum(METRICS.attemptsFailed),
    deadLetters: sum(METRICS.deadLetters),
    deadLettersOpen: open.reduce((total, one) => total + one.open, 0),
    deadLettersParked: open.reduce((total, { parked }) => total + parked, 0),
    deadLettersLastHour: open.reduce((total, { lastHour }) => total + lastHour, 0),
    deadLetterAgeMs: ages.length === 0 ? null : Math.max(...ages),
    deadLetterGroups: await readDeadLetterGroups(db, GROUPS),
    backlog: sum(METRICS.jobsUnfinished),
    lag: lagOf(consumers),
    partitionsHalted: consumers.filter(({ state }) => state === 'halted').length,
    outbox: sum(METRICS.outboxWaiting),
    outboxAgeMs: outbox.ageMs,
    outboxHalted: outbox.halted,
  }
}

/** What is behind an end that nobody knows is not nothing. A partition that is gone has no end, and no lag. */
function lagOf(consumers: readonly ConsumerSummary[]): number | null {
  let lag = 0
  for (const one of consumers) {
    if (one.lag === null && one.state !== 'halted') return null
    lag += Number(one.lag ?? 0n)
  }
  return lag
}
