import { DEFAULT_MAX_BYTES, DEFAULT_MAX_RECORDS } from '../log/checks.ts'
import type { LogRecord, ReadRequest, ReadResult } from '../log/port.ts'
import type { FetchAsk } from './fetch-api.ts'
import type { Segment } from './segment.ts'

/** How what was asked for ended: with something to read, at the end of the log. */
export type Outcome = 'news' | 'end'

/** Somebody wants what is at an offset. */
export interface Demand {
  readonly offset: bigint
  readonly since: number
  /** Wanted only because somebody will soon. */
  readonly ahead: boolean
  readonly waiters: ((outcome: Outcome) => void)[]
}

/** A demand that a broker was asked about. */
export interface Asked {
  readonly demand: Demand
  readonly ask: FetchAsk
  readonly brokerId: number
  readonly since: number
}

/** Why a partition cannot be read just now. */
export interface Trouble {
  readonly since: number
  readonly reason: string
  readonly failures: number
}

/** What a result says of the whole partition. */
type Verdict = Pick<ReadResult, 'outOfRange' | 'corrupt'> & {
  readonly start: bigint
  readonly end: bigint
}

/** How long a partition may be in trouble before its readers are told, in milliseconds. */
const PATIENCE_MS = 1_000

/**
 * What is known of one partition that somebody reads: what was fetched and not yet dropped, what is wanted, and where its
 * end is. Everything is kept by offset, so that readers at different places do not disturb each other, and what was asked
 * for before a seek is simply not found after it.
 */
export class PartitionBuffer {
  readonly topicId: string
  readonly partition: number
  /** Offsets at which somebody waits, oldest first. */
  readonly demands: Map<bigint, Demand> = new Map()
  /** On its way to the leader. */
  asked: Asked | undefined
  /** The offset at which nothing was, when it was last asked for: the end of the log. */
  end: bigint | undefined
  /** The offset for which a broker is told to answer as soon as there is something. */
  watched: bigint | undefined
  trouble: Trouble | undefined
  /** Why its leader does not let us read it, if that is what is wrong. */
  refused: string | undefined
  /** Whether its leader is being looked for. */
  recovering = false
  /** How often in a row its leader has sent nothing of what it has, for want of room. */
  unserved = 0
  lastRead = 0
  lastFetched = 0
  #segments: Segment[] = []
  #bounds: { readonly start: bigint; readonly end: bigint } | undefined
  readonly #verdicts = new Map<bigint, Verdict>()
  #history = ''
  /** Offsets that could not be read once: the next time it is believed. */
  readonly #suspects = new Set<bigint>()

  constructor(topicId: string, partition: number) {
    this.topicId = topicId
    this.partition = partition
  }

  get segments(): readonly Segment[] {
    return this.#segments
  }

  /** Bytes that nobody has read yet. */
  get unread(): number {
    let bytes = 0
    for (const segment of this.#segments) if (segment.readTo < segment.next) bytes += segment.size
    return bytes
  }

  /**
   * What comes now is of this history; see `ReadResult.history`. When it is another than before, what was fetched is
   * dropped, so that nobody goes on from one to the other without being told.
   *
   * Another leader epoch, broker, or process of it: each may have lost the tail of what the one before it gave (an unclean
   * election, a power cut) and have grown again. Most have not, but only who has a position can tell.
   */
  goOn(history: string): void {
    if (history === this.#history) return
    this.#history = history
    this.#segments = []
    this.#verdicts.clear()
    this.#suspects.clear()
  }

  /** How far the log reaches, as its leader last said. */
  set bounds(bounds: { readonly start: bigint; readonly end: bigint }) {
    this.#bounds = bounds
  }

  /** What is at hand from the offset on; `undefined`: nothing. */
  take(request: ReadRequest): ReadResult | undefined {
    const { topic, topicId, partition, offset } = request
    const verdict = this.#verdicts.get(offset)
    if (verdict !== undefined) {
      this.#verdicts.delete(offset)
      const { start, end, ...said } = verdict
      return { ...this.#empty(request), logStart: start, end, ...said }
    }
    const room = {
      records: request.maxRecords ?? DEFAULT_MAX_RECORDS,
      bytes: request.maxBytes ?? DEFAULT_MAX_BYTES,
      first: true,
    }
    const records: LogRecord[] = []
    let next = offset
    let never: { neverRecord?: true } = {}
    for (;;) {
      const segment = this.#segments.find((one) => one.from <= next && next < one.next)
      if (segment === undefined) break
      if (next === offset && segment.neverHeld(offset)) never = { neverRecord: true }
      const read = segment.read(next, { topic, topicId, partition }, room, records)
      if (read.corrupt !== undefined) {
        if (next > offset) break
        this.#segments = this.#segments.filter((one) => one !== segment)
        if (!this.#confirm(next)) return undefined
        return { ...this.#range(request), corrupt: read.corrupt }
      }
      next = read.next
      if (next < segment.next || room.records === 0) break
    }
    if (next === offset) return undefined
    return { ...this.#range(request), records, nextOffset: next, ...never }
  }

  /** The result of a read that found nothing. */
  nothing(request: ReadRequest, now: number): ReadResult {
    const { trouble } = this
    return trouble === undefined || now - trouble.since < PATIENCE_MS
      ? this.#range(request)
      : { ...this.#range(request), unavailable: trouble.reason }
  }

  /**
   * Keeps what was fetched; gives whether there is something to read now. What cannot be read is asked for once more
   * before it is believed: a byte may have been flipped on its way.
   */
  add(segment: Segment): boolean {
    if (segment.next > segment.from) {
      this.drop((one) => one.from === segment.from)
      this.#segments.push(segment)
    } else if (segment.corrupt === undefined || !this.#confirm(segment.from)) return false
    else this.#judge(segment.from, { corrupt: segment.corrupt })
    return true
  }

  /** Says what the log's answer to an offset is, other than records. */
  judge(
    offset: bigint,
    outOfRange: NonNullable<ReadResult['outOfRange']>,
    range: { readonly start: bigint; readonly end: bigint } = { start: offset, end: offset },
  ): void {
    this.#verdicts.set(offset, { outOfRange, ...range })
  }

  /** Drops the segments that `unwanted` names. */
  drop(unwanted: (segment: Segment) => boolean): void {
    this.#segments = this.#segments.filter((segment) => !unwanted(segment))
  }

  /** Where what is at hand ends, going on from `offset`; and how many bytes of it are still to be read. */
  ahead(offset: bigint): { readonly offset: bigint; readonly bytes: number } {
    let at = offset
    let bytes = 0
    for (;;) {
      const segment = this.#segments.find((one) => one.from <= at && at < one.next)
      if (segment === undefined) return { offset: at, bytes }
      bytes += segment.size
      at = segment.next
    }
  }

  /** Whether the log was seen to go on at `offset`. */
  goesOn(offset: bigint): boolean {
    return this.#bounds !== undefined && offset < this.#bounds.end
  }

  /** Notes that it cannot be read just now; gives how often in a row. */
  fail(reason: string, now: number): number {
    const failures = (this.trouble?.failures ?? 0) + 1
    this.trouble = { since: this.trouble?.since ?? now, reason, failures }
    return failures
  }

  /** Whether there is something to read at an offset. */
  has(offset: bigint): boolean {
    return (
      this.#verdicts.has(offset) ||
      this.#segments.some((one) => one.from <= offset && offset < one.next)
    )
  }

  #confirm(offset: bigint): boolean {
    if (this.#suspects.delete(offset)) return true
    this.#suspects.add(offset)
    return false
  }

  #judge(offset: bigint, said: Pick<ReadResult, 'corrupt'>): void {
    const { start, end } = this.#bounds ?? { start: offset, end: offset }
    this.#verdicts.set(offset, { ...said, start, end })
  }

  #range(request: ReadRequest): ReadResult {
    const { start, end } = this.#bounds ?? { start: request.offset, end: request.offset }
    return { ...this.#empty(request), logStart: start, end }
  }

  #empty({ topicId, partition, offset }: ReadRequest): ReadResult {
    const range = { nextOffset: offset, logStart: offset, end: offset }
    return { topicId, partition, history: this.#history, records: [], ...range }
  }
}
