import { listPauses, pauseOf, type Pause } from '../control/pauses.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log, PartitionOffsets } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { adviceFor } from './advice.ts'
import type { GapCode } from './gaps.ts'
import { describePause } from './pause-consumers.ts'

// What operators may order stands beside what they may ask.
export type { Pause } from '../control/pauses.ts'
export { listAcceptedFailures, type AcceptedFailure, type FloodStop } from './flood-stops.ts'
export { listGaps, type Gap, type GapCode, type GapDecision } from './gaps.ts'
export {
  pauseConsumers,
  resumeConsumers,
  type PauseOptions,
  type Resumed,
} from './pause-consumers.ts'
export { planResolve, type ResolvePlan, type ResolveStep, type Resolution } from './plan-resolve.ts'
export { nothingResolved, resolveConsumers } from './resolve.ts'
export {
  knownPositions,
  type ConsumerScope,
  type OrderParts,
  type RefusedPosition,
} from './scope.ts'
export { nothingMoved, planSeek, seekConsumers, type PositionMove, type SeekPlan } from './seek.ts'

/** How far one application is in one partition. */
export interface ConsumerSummary {
  readonly application: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** Name of the process that reads it; null: nobody just now. */
  readonly owner: string | null
  readonly ownerId: string | null
  readonly epoch: bigint
  readonly generation: number
  /** The next record to read. */
  readonly position: bigint
  /** End of the partition; null when the topic is not there any more, or its end cannot be said just now. */
  readonly end: bigint | null
  /** Records between position and end; holes count. Null when the end is not known. */
  readonly lag: bigint | null
  /**
   * Records behind the end that a transaction of their producer holds back while it is open; its marks count. Null when that is
   * not known.
   */
  readonly heldBack: bigint | null
  /**
   * Age of the next record to read, by its timestamp and the database's clock, in milliseconds; 0 when there is none. Null
   * when it is not known, or was not asked for.
   */
  readonly lagMs: number | null
  /** `paused` also while its owner finishes the batch at hand. */
  readonly state: 'reading' | 'waiting' | 'paused' | 'halted' | 'unowned'
  /** Why it waits, is paused or halted; or that a transaction which is still open keeps from it what comes next. */
  readonly reason: string | null
  /** What was found when it was halted. */
  readonly code: GapCode | null
  readonly pause: Pause | null
  /** The command to try next; null: nothing needs to be done, or the log does not answer. */
  readonly next: string | null
  readonly updatedAt: Date
}

/** Which positions, and what about them. */
export interface ConsumerFilter {
  readonly application?: string | undefined
  readonly topic?: string | undefined
  readonly partition?: number | undefined
  /**
   * Whether to read the next record of each that is behind, for its age: a read per partition. A number: of so many, those
   * that are furthest behind. Default false.
   */
  readonly lagTimes?: boolean | number
}

interface Row extends Record<string, unknown> {
  readonly application: string
  readonly topic: string
  readonly topic_id: string
  readonly partition: number
  readonly owner: string | null
  readonly owner_name: string | null
  readonly epoch: string
  readonly generation: number
  readonly next_offset: string
  readonly halted: string | null
  readonly code: GapCode | null
  readonly waiting: string | null
  readonly updated_at: Date
  readonly now: Date
}

/** Every position there is, or those that fit, each with its lag. */
export async function listConsumers(
  db: Queryable,
  log: Log,
  filter: ConsumerFilter = {},
): Promise<ConsumerSummary[]> {
  const { rows } = await db.query<Row>(
    `/* millrace:consumer-list */ select p.application, p.topic, p.topic_id, p.partition, p.owner, pr.name as owner_name,
       p.epoch::text, p.generation, p.next_offset::text, p.halted, g.code, p.waiting, p.updated_at,
       clock_timestamp() as now
     from millrace.position p
     left join millrace.process pr on pr.id = p.owner and pr.expires_at > clock_timestamp()
     left join millrace.gap g on p.halted is not null and g.decision is null
       and g.application = p.application and g.topic_id = p.topic_id and g.partition = p.partition
     where ($1::text is null or p.application = $1) and ($2::text is null or p.topic = $2)
       and ($3::int is null or p.partition = $3)
     order by p.application, p.topic, p.topic_id, p.partition`,
    [filter.application ?? null, filter.topic ?? null, filter.partition ?? null],
  )
  const pauses = await listPauses(db, filter.application)
  const ends = new Map<string, Map<number, PartitionOffsets>>()
  for (const topicId of new Set(rows.map((row) => row.topic_id))) {
    const offsets = await log.offsets(topicId).catch((error: unknown) => {
      // Where the positions are is to be seen also, and just then, when the log cannot be reached.
      if (isMillraceError(error) && error.retryable) return []
      throw error
    })
    const known = offsets.filter(({ unavailable }) => unavailable === undefined)
    ends.set(topicId, new Map(known.map((range) => [range.partition, range])))
  }
  const topicsNow = new Map<string, string | undefined | null>()
  for (const { topic, halted } of rows) {
    if (halted !== null && !topicsNow.has(topic)) topicsNow.set(topic, await topicNow(log, topic))
  }
  const found = rows.map((row): ConsumerSummary => {
    const { application, topic, partition } = row
    const position = BigInt(row.next_offset)
    const range = ends.get(row.topic_id)?.get(partition)
    const end = range?.end ?? null
    const pause = pauseOf(pauses, row) ?? null
    const facts = {
      application,
      topic,
      topicId: row.topic_id,
      partition,
      state: stateOf(row, pause),
      code: row.code,
      pause,
    }
    return {
      ...facts,
      owner: row.owner_name,
      ownerId: row.owner,
      epoch: BigInt(row.epoch),
      generation: row.generation,
      position,
      end,
      lag: end === null ? null : end > position ? end - position : 0n,
      heldBack: range === undefined ? null : range.appendOffset - range.end,
      lagMs: null,
      reason:
        row.halted ??
        (pause === null ? (row.waiting ?? whatHoldsBack(position, range)) : describePause(pause)),
      next: adviceFor(facts, topicsNow.get(topic)),
      updatedAt: row.updated_at,
    }
  })
  const now = rows[0]?.now
  const { lagTimes = false } = filter
  if (lagTimes === false || now === undefined) return found
  return withLagTimes(log, found, now, lagTimes === true ? found.length : lagTimes)
}

/** Id of the topic that has a name now; null: the log does not answer. */
async function topicNow(log: Log, name: string): Promise<string | undefined | null> {
  try {
    return (await log.topic(name))?.id
  } catch (error) {
    // A list is for when something is wrong: what is known without the log is shown all the same.
    if (isMillraceError(error) && error.retryable) return null
    throw error
  }
}

/** Of whoever has read all that is decided: what is not, if there is anything. */
function whatHoldsBack(position: bigint, range: PartitionOffsets | undefined): string | null {
  if (range === undefined || position < range.end || range.appendOffset <= range.end) return null
  return `a transaction that is still open holds back what stands from offset ${range.end} up to ${range.appendOffset}`
}

function stateOf(row: Row, pause: Pause | null): ConsumerSummary['state'] {
  if (row.halted !== null) return 'halted'
  if (pause !== null) return 'paused'
  if (row.owner_name === null) return 'unowned'
  return row.waiting === null ? 'reading' : 'waiting'
}

/** Partitions of one read: bounds the memory, for one record of each may be large. */
const PER_READ = 32

async function withLagTimes(
  log: Log,
  consumers: readonly ConsumerSummary[],
  now: Date,
  most: number,
): Promise<ConsumerSummary[]> {
  const ages = new Map<ConsumerSummary, number | null>()
  const behind = consumers
    .filter(({ lag }) => lag !== null && lag > 0n)
    .toSorted((a, b) => Number((b.lag ?? 0n) - (a.lag ?? 0n)))
    .slice(0, most)
  for (let at = 0; at < behind.length; at += PER_READ) {
    const some = behind.slice(at, at + PER_READ)
    const results = await log.read(
      some.map(({ topic, topicId, partition, position: offset }) => ({
        topic,
        topicId,
        partition,
        offset,
        maxRecords: 1,
        maxBytes: 1,
      })),
    )
    for (const [index, one] of some.entries()) {
      const result = results[index]
      const timestamp = result?.records[0]?.timestamp.getTime()
      // Nothing but holes up to the end is nothing to be late with.
      const isRead = result?.outOfRange === undefined && result?.corrupt === undefined
      const none = isRead && result !== undefined && result.nextOffset >= result.end ? 0 : null
      ages.set(one, timestamp === undefined ? none : Math.max(0, now.getTime() - timestamp))
    }
  }
  return consumers.map((one) => ({
    ...one,
    lagMs: one.lag === 0n ? 0 : (ages.get(one) ?? null),
  }))
}
