import { crc32c } from '@platformatic/kafka'
import { BrokenBytes, ByteReader } from './bytes.ts'
import { CODECS, type Compression } from './codecs.ts'

/** Where the fields of a batch's header stand: Kafka's record format 2. */
const LENGTH_AT = 8
const MAGIC_AT = 16
const CRC_AT = 17
const ATTRIBUTES_AT = 21
const LAST_OFFSET_DELTA_AT = 23
const BASE_TIMESTAMP_AT = 27
const MAX_TIMESTAMP_AT = 35
const PRODUCER_ID_AT = 43
const COUNT_AT = 57
/** Length of the header; the records follow. */
export const HEADER_BYTES = 61
/** What the length of a batch does not count: its first offset, and itself. */
const BEFORE_LENGTH = 12

const CODEC_MASK = 0b111
const LOG_APPEND_TIME = 1 << 3
/** The attribute of batches that belong to a transaction. */
export const TRANSACTIONAL: number = 1 << 4
const CONTROL = 1 << 5

/** What the header of a batch says, checked. Positions are into the buffer that holds the batch. */
export interface BatchHeader {
  /** Where its records begin, compressed or not. */
  readonly recordsAt: number
  /** Where it ends. */
  readonly endAt: number
  readonly baseOffset: bigint
  /** The last offset that belongs to it, also when compaction took away the record that had it. */
  readonly lastOffset: bigint
  readonly codec: Compression
  readonly baseTimestamp: number
  /** The time of all its records, when the broker's clock counts and not the producer's. */
  readonly logAppendTime: number | undefined
  readonly producerId: bigint
  readonly transactional: boolean
  /** Whether it says how a transaction ended, instead of holding records: `abort`, or another. */
  readonly control: 'abort' | 'other' | undefined
  readonly count: number
}

/** A batch that cannot be read. */
export interface CorruptBatch {
  readonly offset: bigint
  /** The first offset behind it, by what its header says; `null` when that makes no sense. */
  readonly to: bigint | null
  readonly reason: string
}

/** Batches that follow each other. */
export interface BatchHeaders {
  readonly headers: readonly BatchHeader[]
  /** The first batch that cannot be read, and so none behind it. */
  readonly corrupt: CorruptBatch | undefined
}

/**
 * The headers of the batches in `bytes`, each with its checksum compared. A batch that is cut off at the end is left out:
 * brokers send as much as fits.
 */
export function readBatchHeaders(bytes: Buffer): BatchHeaders {
  const headers: BatchHeader[] = []
  let at = 0
  while (at + HEADER_BYTES <= bytes.length) {
    const baseOffset = bytes.readBigInt64BE(at)
    const endAt = at + BEFORE_LENGTH + bytes.readInt32BE(at + LENGTH_AT)
    try {
      if (endAt < at + HEADER_BYTES) throw new BrokenBytes('its length is impossible')
      const magic = bytes.readInt8(at + MAGIC_AT)
      if (magic !== 2) {
        throw new BrokenBytes(
          `it has record format ${magic}; brokers since Kafka 0.11 write format 2`,
        )
      }
      if (endAt > bytes.length) break
      headers.push(readHeader(bytes, at, endAt))
    } catch (error) {
      const to = endAt > bytes.length ? null : behind(bytes, at)
      return { headers, corrupt: { offset: baseOffset, to, reason: (error as Error).message } }
    }
    at = endAt
  }
  return { headers, corrupt: undefined }
}

/** Most offsets of a batch whose header is believed although its bytes are not what they were. */
const PLAUSIBLE_OFFSETS = 10_000_000

function behind(bytes: Buffer, at: number): bigint | null {
  const delta = bytes.readInt32BE(at + LAST_OFFSET_DELTA_AT)
  if (delta < 0 || delta > PLAUSIBLE_OFFSETS) return null
  return bytes.readBigInt64BE(at) + BigInt(delta) + 1n
}

function readHeader(bytes: Buffer, at: number, endAt: number): BatchHeader {
  const checksum = bytes.readUInt32BE(at + CRC_AT)
  if (crc32c(bytes.subarray(at + ATTRIBUTES_AT, endAt)) >>> 0 !== checksum) {
    throw new BrokenBytes('its checksum does not fit its bytes')
  }
  const attributes = bytes.readInt16BE(at + ATTRIBUTES_AT)
  const codec = CODECS[attributes & CODEC_MASK]
  if (codec === undefined) {
    throw new BrokenBytes(
      `it is compressed with codec ${attributes & CODEC_MASK}, which is unknown`,
    )
  }
  const baseOffset = bytes.readBigInt64BE(at)
  const control = (attributes & CONTROL) !== 0
  const logAppended = (attributes & LOG_APPEND_TIME) !== 0
  return {
    recordsAt: at + HEADER_BYTES,
    endAt,
    baseOffset,
    lastOffset: baseOffset + BigInt(bytes.readInt32BE(at + LAST_OFFSET_DELTA_AT)),
    codec,
    baseTimestamp: Number(bytes.readBigInt64BE(at + BASE_TIMESTAMP_AT)),
    logAppendTime: logAppended ? Number(bytes.readBigInt64BE(at + MAX_TIMESTAMP_AT)) : undefined,
    producerId: bytes.readBigInt64BE(at + PRODUCER_ID_AT),
    transactional: (attributes & TRANSACTIONAL) !== 0,
    control: control ? controlType(bytes, at + HEADER_BYTES) : undefined,
    count: bytes.readInt32BE(at + COUNT_AT),
  }
}

/** The first record of a control batch has a key of two numbers: a version, and how the transaction ended. */
function controlType(bytes: Buffer, at: number): 'abort' | 'other' {
  const reader = new ByteReader(bytes, at)
  reader.varint()
  reader.at += 1
  reader.varlong()
  reader.varint()
  const key = reader.view(reader.varint())
  return key !== null && key.length >= 4 && key.readInt16BE(2) === 0 ? 'abort' : 'other'
}

/** A transaction that was aborted: its producer, and the first offset it wrote. */
export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: bigint
}

/**
 * The batches that hold records for a reader of what is committed: neither control batches nor those of aborted
 * transactions. The rule of Kafka's own consumer: before each batch, the aborted transactions that begin at or before its
 * last offset are open; a transactional batch of an open producer is none of ours; the producer's abort marker closes it.
 * So several transactions of one producer, and one whose marker lies beyond this fetch, are told apart.
 */
export function committedBatches(
  headers: readonly BatchHeader[],
  aborted: readonly AbortedTransaction[],
): BatchHeader[] {
  const waiting = aborted.toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  const open = new Set<bigint>()
  let next = 0
  return headers.filter((header) => {
    for (; next < waiting.length; next += 1) {
      const { producerId, firstOffset } = waiting[next] as AbortedTransaction
      if (firstOffset > header.lastOffset) break
      open.add(producerId)
    }
    if (header.control === 'abort') open.delete(header.producerId)
    if (header.control !== undefined) return false
    return !(header.transactional && open.has(header.producerId))
  })
}
