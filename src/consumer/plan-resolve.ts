import { MillraceError } from '../errors/millrace-error.ts'
import type { Log, PartitionOffsets, Topic } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { StartPosition } from './application.ts'
import { lastMatch, type Checkpoint } from './checkpoints.ts'
import { listGaps, type Gap, type GapCode } from './gaps.ts'
import {
  knownPositions,
  positionsIn,
  type ConsumerScope,
  type OrderedPosition,
  type OrderParts,
  type RefusedPosition,
} from './scope.ts'
import { startOffset } from './start-offset.ts'

/** What is decided about a log that is not what it was. */
export type Resolution =
  /** Read again: from behind the last record that is still as it was handled, from where the log begins, or from an offset. */
  | {
      readonly decision: 'rewind'
      readonly to: 'match' | 'beginning' | { readonly offset: bigint }
    }
  /** Give up what is missing, and go on behind it; or, where nobody knows its end, at an offset. */
  | { readonly decision: 'accept'; readonly to?: bigint | undefined }
  /** Read the new topic of the same name, from there. */
  | { readonly decision: 'adopt'; readonly from: StartPosition }

/** What becomes of one position. Numbers of records count offsets, so holes count. */
export interface ResolveStep {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly generation: number
  /** What had been found. Null: that is not known. */
  readonly code: GapCode | null
  /** Where it was stopped. Null: a position that is made, in a new topic. */
  readonly position: bigint | null
  /** Where reading goes on. Null: the position is taken away. */
  readonly to: bigint | null
  /** How many records are read that lie below where it was stopped. */
  readonly reread: bigint
  /** How many records are given up, at most. Null: nobody knows. */
  readonly givenUp: bigint | null
  readonly note: string
  /** The record by which the log is recognised from now on. */
  readonly seen: Checkpoint | null
}

/** What a resolution would do. */
export interface ResolvePlan {
  readonly scope: ConsumerScope
  readonly resolution: Resolution
  readonly steps: readonly ResolveStep[]
  readonly refused: readonly RefusedPosition[]
}

/**
 * Says what a resolution would do to the stopped positions of a scope, by the log as it is now; changes nothing.
 * @throws E_CONSUMER_NOT_FOUND
 * @throws E_CONSUMER_STATE when none of them is stopped.
 * @throws E_LOG_UNAVAILABLE, retryable, when the log cannot be read just now.
 */
export async function planResolve(
  parts: Pick<OrderParts, 'pool' | 'log'>,
  scope: ConsumerScope,
  resolution: Resolution,
): Promise<ResolvePlan> {
  const { pool } = parts
  const halted = (await knownPositions(pool, scope)).filter((position) => position.halted !== null)
  if (halted.length === 0) {
    throw new MillraceError(
      'E_CONSUMER_STATE',
      `nothing of ${nameOf(scope)} is stopped, so there is nothing to resolve`,
    )
  }
  const log = await parts.log()
  const gaps = await listGaps(pool, { application: scope.application, open: true })
  const steps: ResolveStep[] = []
  const refused: RefusedPosition[] = []
  for (const [name, positions] of Map.groupBy(halted, ({ topic }) => topic)) {
    const topic = await log.topic(name)
    const ranges = topic === undefined ? [] : await log.offsets(topic.id)
    if (resolution.decision === 'adopt') {
      const planned = await planAdopt(pool, log, { scope, resolution, topic, ranges, positions })
      if (typeof planned === 'string')
        refused.push(
          ...positions.map((p) => ({ topic: name, partition: p.partition, why: planned })),
        )
      else steps.push(...planned)
      continue
    }
    for (const position of positions) {
      const { partition } = position
      const gap = gaps.find(
        (one) => one.topicId === position.topicId && one.partition === partition,
      )
      const range = ranges.find((one) => one.partition === partition)
      if (gap?.code === 'flood' && topic?.id === position.topicId) {
        const why =
          'its log is well: most of its next records fail alike. `millrace consumers resume` goes on with them'
        refused.push({ topic: name, partition, why })
        continue
      }
      const planned = await planMove(pool, log, { resolution, topic, range, position, gap })
      if (typeof planned === 'string') refused.push({ topic: name, partition, why: planned })
      else steps.push(planned)
    }
  }
  return { scope, resolution, steps, refused }
}

/** A scope in words. */
export function nameOf({ application, topic, partition }: ConsumerScope): string {
  return [application, topic, partition].filter((part) => part !== undefined).join('/')
}

interface Move {
  readonly resolution: Exclude<Resolution, { decision: 'adopt' }>
  readonly topic: Topic | undefined
  readonly range: PartitionOffsets | undefined
  readonly position: OrderedPosition
  readonly gap: Gap | undefined
}

/** What becomes of a position that goes on in its own topic; a text: why it cannot. */
async function planMove(db: Queryable, log: Log, move: Move): Promise<ResolveStep | string> {
  const { resolution, topic, range, position, gap } = move
  const base = { ...withoutRest(position), code: gap?.code ?? null, position: position.next }
  if (topic === undefined) {
    if (resolution.decision === 'rewind')
      return 'the topic is gone, and its records with it. Make it anew and adopt that, or accept that it is gone'
    const note = 'the topic is gone for good: the position is taken away'
    return { ...base, to: null, reread: 0n, givenUp: null, note, seen: null }
  }
  if (topic.id !== position.topicId)
    return `the topic was made anew, with id ${topic.id}: adopt that one`
  if (range === undefined) return `the topic has no partition ${position.partition} any more`
  if (range.unavailable !== undefined) return `it cannot be read just now: ${range.unavailable}`
  const match = await lastMatch(db, log, position, range)
  return resolution.decision === 'rewind'
    ? planRewind(resolution.to, { base, position, range, match })
    : planAccept(resolution.to, { base, position, range, match, gap })
}

interface Found {
  readonly base: Omit<ResolveStep, 'to' | 'reread' | 'givenUp' | 'note' | 'seen'>
  readonly position: OrderedPosition
  readonly range: PartitionOffsets
  /** The newest record that is still as it was handled. */
  readonly match: Checkpoint | undefined
}

function planRewind(
  to: Extract<Resolution, { decision: 'rewind' }>['to'],
  { base, position, range, match }: Found,
): ResolveStep | string {
  if (position.next < range.start)
    return `what was purged cannot be read again: the log begins at ${range.start}. That gap can only be accepted`
  if (to === 'match' && match === undefined)
    return 'no record that was handled is still there as it was. `rewind --to beginning` reads all that the log has; `accept` gives up what is missing'
  const target =
    to === 'match'
      ? (match as Checkpoint).offset + 1n
      : to === 'beginning'
        ? range.start
        : to.offset
  if (target < range.start || target > range.appendOffset)
    return `offset ${target} lies outside of the log, which has ${range.start} to ${range.appendOffset}`
  if (target > position.next)
    return `offset ${target} is ahead of the position, ${position.next}: to go on there gives up what is between; that is \`accept\``
  const note =
    to === 'match'
      ? `reads on behind offset ${target - 1n}, the last record that is as it was handled`
      : 'reads again from there'
  // A record that was handled tells the log apart only as long as it stands below where reading goes on.
  const seen = match !== undefined && match.offset < target ? match : null
  return { ...base, to: target, reread: unread(target, position, range), givenUp: 0n, note, seen }
}

function planAccept(
  asked: bigint | undefined,
  { base, position, range, match, gap }: Found & { readonly gap: Gap | undefined },
): ResolveStep | string {
  const { next, lastOffset } = position
  const step = (to: bigint, givenUp: bigint | null, note: string): ResolveStep | string => {
    if (to < range.start || to > range.appendOffset)
      return `offset ${to} lies outside of the log, which has ${range.start} to ${range.appendOffset}`
    const seen = match !== undefined && match.offset < to ? match : null
    return { ...base, to, reread: unread(to, position, range), givenUp, note, seen }
  }
  if (asked !== undefined) {
    if (asked < next && next <= range.appendOffset)
      return `offset ${asked} is below the position, ${next}: to read again is \`rewind\``
    return step(asked, asked > next ? asked - next : null, 'goes on there')
  }
  if (gap?.code === 'corrupt' && next >= range.start && next <= range.appendOffset) {
    return gap.to === null
      ? 'nobody knows where what cannot be read ends. Say where to go on: `accept --to <offset>`'
      : step(gap.to, gap.to - (gap.from ?? next), 'goes on behind what cannot be read')
  }
  if (next < range.start)
    return step(range.start, range.start - next, 'goes on where the log begins now')
  const rewritten = gap?.code === 'behind-end' || gap?.code === 'diverged'
  const whole = match !== undefined && match.offset === lastOffset && next <= range.appendOffset
  if (!whole && (rewritten || next > range.appendOffset)) {
    // Of a lost tail, where the log ended when that was found: what was appended since has not been read, and must be.
    const end = gap?.code === 'behind-end' ? (gap.from ?? range.appendOffset) : next
    const to = min(max(end, range.start), range.appendOffset)
    // What stands between the last record that is as it was and there may have been written in place of what was handled.
    const givenUp = match === undefined ? null : max(0n, to - match.offset - 1n)
    return step(
      to,
      givenUp,
      givenUp === 0n
        ? 'goes on at the end of what is as it was'
        : `goes on there; what took the place of handled records ${match === undefined ? 'below it' : `from ${match.offset + 1n} on`} is not read`,
    )
  }
  return step(next, 0n, 'the log is as it was; goes on where it stopped')
}

interface Adoption {
  readonly scope: ConsumerScope
  readonly resolution: Extract<Resolution, { decision: 'adopt' }>
  readonly topic: Topic | undefined
  readonly ranges: readonly PartitionOffsets[]
  readonly positions: readonly OrderedPosition[]
}

/** The positions that are taken away, and those that are made in the new topic; a text: why that cannot be. */
async function planAdopt(
  db: Queryable,
  log: Log,
  { scope, resolution, topic, ranges, positions }: Adoption,
): Promise<ResolveStep[] | string> {
  if (scope.partition !== undefined)
    return 'a new topic is adopted as a whole, for its partitions are others: leave --partition out'
  if (topic === undefined) return 'there is no topic of that name. Make it, then adopt it'
  const { application } = scope
  const all = await positionsIn(db, { application, topic: topic.name })
  const old = all.filter(({ topicId }) => topicId !== topic.id)
  if (old.length === 0) return 'the topic is the one that it was: rewind, or accept'
  if (positions.length < old.length)
    return 'not all of its partitions are stopped yet. Start the application, and try again'
  const silent = ranges.find(({ unavailable }) => unavailable !== undefined)
  if (silent !== undefined)
    return `partition ${silent.partition} of the new topic cannot be read just now: ${silent.unavailable ?? ''}`
  const gaps = await listGaps(db, { application, open: true })
  const ends = old.map((position): ResolveStep => {
    const gap = gaps.find(
      ({ topicId, partition }) => topicId === position.topicId && partition === position.partition,
    )
    return {
      ...withoutRest(position),
      code: gap?.code ?? null,
      position: position.next,
      to: null,
      reread: 0n,
      givenUp: null,
      note: 'ends with the old topic',
      seen: null,
    }
  })
  const begins = await Promise.all(
    ranges.map(async (range): Promise<ResolveStep> => {
      const to = await startOffset(log, topic.id, range, resolution.from)
      return {
        topic: topic.name,
        topicId: topic.id,
        partition: range.partition,
        generation: 0,
        code: null,
        position: null,
        to,
        reread: 0n,
        givenUp: to - range.start,
        note: 'begins in the new topic',
        seen: null,
      }
    }),
  )
  return [...ends, ...begins]
}

function withoutRest({
  topic,
  topicId,
  partition,
  generation,
}: OrderedPosition): Pick<ResolveStep, 'topic' | 'topicId' | 'partition' | 'generation'> {
  return { topic, topicId, partition, generation }
}

/** Records from `to` up to where the position was stopped, as far as the log has them. */
function unread(to: bigint, { next }: OrderedPosition, { appendOffset }: PartitionOffsets): bigint {
  return max(0n, min(next, appendOffset) - to)
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
