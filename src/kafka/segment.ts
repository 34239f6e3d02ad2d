import { GREATEST_TIME_MS } from '../log/checks.ts'
import type { Header } from '../events/raw-record.ts'
import type { LogRecord, ReadResult } from '../log/port.ts'
import { BrokenBytes, ByteReader } from './bytes.ts'
import { decompress } from './codecs.ts'
import {
  committedBatches,
  readBatchHeaders,
  type AbortedTransaction,
  type BatchHeader,
} from './record-batch.ts'

/** How many places to go on from are kept: about as many as there are readers at different offsets. */
const MAX_CURSORS = 8
const NO_HEADERS: readonly Header[] = []

/** What the records are given, beside what they hold. */
export interface RecordPlace {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

/** How much of it a read may still take, counted down while reading. */
export interface Room {
  records: number
  bytes: number
  /** Whether nothing was taken yet: the first record is given whatever its size. */
  first: boolean
}

interface Cursor {
  /** Index of the batch. */
  readonly batch: number
  /** Position in its decompressed records. */
  readonly at: number
  /** How many of its records were read. */
  readonly done: number
}

/**
 * What one fetch brought of one partition: batches as they came, checked when they arrive, decompressed and taken apart
 * when somebody reads them. Any offset within can be read, by several readers at once; each goes on where he stopped
 * without searching.
 */
export class Segment {
  /** The first offset it answers for. */
  readonly from: bigint
  /** The offset behind its last whole batch. Holes, control records and aborted transactions are stepped over. */
  readonly next: bigint
  /** Why what stands at `next` can never be read. */
  readonly corrupt: ReadResult['corrupt']
  /** When it came, in milliseconds of the clock that only grows. */
  readonly at: number
  /** Where the furthest reader is. */
  readTo: bigint
  readonly #bytes: Buffer
  readonly #batches: readonly BatchHeader[]
  /** Those that are stepped over: control batches, and those of aborted transactions. */
  readonly #others: readonly BatchHeader[]
  readonly #maxBatchBytes: number
  readonly #cursors = new Map<bigint, Cursor>()
  #opened: { readonly batch: number; readonly records: Buffer } | undefined

  constructor(
    from: bigint,
    bytes: Buffer,
    aborted: readonly AbortedTransaction[],
    maxBatchBytes: number,
    at: number,
  ) {
    this.at = at
    const { headers, corrupt } = readBatchHeaders(bytes)
    const last = headers.at(-1)
    this.from = from
    this.readTo = from
    this.next = last === undefined || last.lastOffset < from ? from : last.lastOffset + 1n
    this.corrupt =
      corrupt === undefined
        ? undefined
        : {
            to: corrupt.to,
            reason: `the batch at offset ${corrupt.offset} cannot be read: ${corrupt.reason}`,
          }
    this.#bytes = bytes
    const committed = new Set(committedBatches(headers, aborted))
    const wanted = headers.filter(({ lastOffset }) => lastOffset >= from)
    this.#batches = wanted.filter((header) => committed.has(header))
    this.#others = wanted.filter((header) => !committed.has(header))
    this.#maxBatchBytes = maxBatchBytes
  }

  /** Whether `offset` belongs to the end of a transaction, or to one that was aborted: no reader was ever given it. */
  neverHeld(offset: bigint): boolean {
    return this.#others.some((one) => one.baseOffset <= offset && offset <= one.lastOffset)
  }

  /** Bytes that it holds. */
  get size(): number {
    return this.#bytes.length + (this.#opened?.records.length ?? 0)
  }

  /**
   * Reads records at and above `offset` into `records` until there is no more room; gives where to go on. When a batch
   * cannot be taken apart, what came before it is given, and the next read from there says why.
   */
  read(
    offset: bigint,
    place: RecordPlace,
    room: Room,
    records: LogRecord[],
  ): { readonly next: bigint; readonly corrupt?: NonNullable<ReadResult['corrupt']> } {
    const known = this.#cursors.get(offset)
    let index = known?.batch ?? this.#batches.findIndex(({ lastOffset }) => lastOffset >= offset)
    if (index === -1) index = this.#batches.length
    let next = offset
    for (let cursor = known; index < this.#batches.length; index += 1, cursor = undefined) {
      const header = this.#batches[index] as BatchHeader
      if (room.records === 0 || (room.bytes <= 0 && !room.first)) {
        const start = { batch: index, at: recordsStart(header), done: 0 }
        return { next: this.#remember({ offset: next, cursor: cursor ?? start }) }
      }
      try {
        const first = records.length
        const stopped = this.#readBatch(index, header, cursor, offset, place, room, records)
        const inPart = stopped !== undefined || offset > header.baseOffset
        if (inPart && header.codec !== 'none') detach(records, first)
        if (stopped !== undefined) return { next: this.#remember(stopped) }
      } catch (error) {
        if (!(error instanceof BrokenBytes)) throw error
        const { baseOffset } = header
        const last = records.at(-1)
        const at = last === undefined || last.offset < baseOffset ? baseOffset : last.offset + 1n
        next = at > offset ? at : offset
        this.#note(next)
        if (next > offset) return { next }
        const reason = `the batch at offset ${baseOffset} cannot be read: ${error.message}`
        return { next, corrupt: { to: header.lastOffset + 1n, reason } }
      }
      next = header.lastOffset + 1n
    }
    this.#opened = undefined
    this.#note(this.next)
    return { next: this.next }
  }

  /** Gives where it stopped, when the room ran out before the batch did. */
  #readBatch(
    index: number,
    header: BatchHeader,
    cursor: Cursor | undefined,
    from: bigint,
    place: RecordPlace,
    room: Room,
    records: LogRecord[],
  ): { readonly offset: bigint; readonly cursor: Cursor } | undefined {
    const bytes = this.#open(index, header)
    const reader = new ByteReader(bytes, cursor?.at ?? recordsStart(header))
    const endAt = header.codec === 'none' ? header.endAt : bytes.length
    for (let done = cursor?.done ?? 0; done < header.count; done += 1) {
      const at = reader.at
      const length = reader.varint()
      const recordEnd = reader.at + length
      if (length < 0 || recordEnd > endAt) throw new BrokenBytes('a record beyond its end')
      reader.at += 1
      const timeDelta = reader.varlong()
      const offset = header.baseOffset + BigInt(reader.varint())
      if (offset < from) {
        reader.at = recordEnd
        continue
      }
      if (room.records === 0 || (!room.first && length > room.bytes)) {
        return { offset, cursor: { batch: index, at, done } }
      }
      const key = reader.view(reader.varint())
      const value = reader.view(reader.varint())
      const headers = readHeaders(reader)
      if (reader.at !== recordEnd) throw new BrokenBytes('a record of another length than it says')
      const time = header.logAppendTime ?? header.baseTimestamp + timeDelta
      records.push({
        topic: place.topic,
        topicId: place.topicId,
        partition: place.partition,
        offset,
        key,
        value,
        headers,
        timestamp: new Date(time < 0 ? 0 : time > GREATEST_TIME_MS ? GREATEST_TIME_MS : time),
      })
      room.first = false
      room.records -= 1
      room.bytes -= length
    }
    return undefined
  }

  #open(index: number, header: BatchHeader): Buffer {
    if (header.codec === 'none') return this.#bytes
    if (this.#opened?.batch === index) return this.#opened.records
    const compressed = this.#bytes.subarray(header.recordsAt, header.endAt)
    const records = decompress(header.codec, compressed, this.#maxBatchBytes)
    this.#opened = { batch: index, records }
    return records
  }

  #remember({ offset, cursor }: { readonly offset: bigint; readonly cursor: Cursor }): bigint {
    this.#cursors.delete(offset)
    this.#cursors.set(offset, cursor)
    if (this.#cursors.size > MAX_CURSORS) {
      for (const oldest of this.#cursors.keys()) {
        this.#cursors.delete(oldest)
        break
      }
    }
    this.#note(offset)
    return offset
  }

  #note(offset: bigint): void {
    if (offset > this.readTo) this.readTo = offset
  }
}

/**
 * Gives the records from index `first` on bytes of their own. They are some of a batch, which may be many times as large
 * decompressed, and would hold it in memory for as long as somebody works on them.
 */
function detach(records: LogRecord[], first: number): void {
  for (let index = first; index < records.length; index += 1) {
    const record = records[index] as LogRecord
    const headers = record.headers.map(([name, value]): Header => [name, copied(value)])
    records[index] = { ...record, key: copied(record.key), value: copied(record.value), headers }
  }
}

function copied(bytes: Uint8Array | null): Uint8Array | null {
  return bytes === null ? null : Buffer.from(bytes)
}

/** Where a batch's records begin in what {@link Segment} opens for it. */
function recordsStart({ codec, recordsAt }: BatchHeader): number {
  return codec === 'none' ? recordsAt : 0
}

function readHeaders(reader: ByteReader): readonly Header[] {
  const count = reader.varint()
  if (count === 0) return NO_HEADERS
  if (count < 0) throw new BrokenBytes('fewer headers than none')
  const headers: Header[] = []
  for (let index = 0; index < count; index += 1) {
    const name = reader.text(reader.varint())
    headers.push([name, reader.view(reader.varint())])
  }
  return headers
}
