import { crc32c } from '@platformatic/kafka'
import type { Compression } from '../../../src/kafka/codecs.ts'
import { writeBatch } from '../../../src/kafka/record-batch-writer.ts'
import { Segment, type Room } from '../../../src/kafka/segment.ts'
import type { LogRecord, NewRecord } from '../../../src/log/port.ts'

/** Time of records that say none. */
export const now = Date.UTC(2026, 10, 22)

/** What a batch is besides its records. */
export interface BatchParts {
  readonly offset?: bigint
  readonly compression?: Compression
  readonly producerId?: bigint
  readonly transactional?: boolean
  /** Bits of the attributes that are set as well. */
  readonly attributes?: number
  readonly maxTimestamp?: number
}

/** A batch of records with these values, as a broker would store it. */
export function batch(values: readonly (string | NewRecord)[], parts: BatchParts = {}): Buffer {
  const records = values.map((value) =>
    typeof value === 'string' ? { topic: 't', ...plain, value: Buffer.from(value) } : value,
  )
  const bytes = writeBatch(records, now, parts.compression ?? 'none', {
    producerId: parts.producerId ?? -1n,
    epoch: 0,
    sequence: 0,
  })
  bytes.writeBigInt64BE(parts.offset ?? 0n, 0)
  const attributes = (parts.attributes ?? 0) | (parts.transactional ? 0b1_0000 : 0)
  bytes.writeInt16BE(bytes.readInt16BE(21) | attributes, 21)
  if (parts.maxTimestamp !== undefined) bytes.writeBigInt64BE(BigInt(parts.maxTimestamp), 35)
  return sealed(bytes)
}

const plain = { key: null, headers: [] } as const

/** The end of a transaction, as the broker writes it. */
export function marker(type: 'abort' | 'commit', offset: bigint, producerId: bigint): Buffer {
  const key = Buffer.from(type === 'abort' ? '00000000' : '00000001', 'hex')
  const record = { topic: 't', key, value: Buffer.alloc(6), headers: [] }
  return batch([record], { offset, producerId, transactional: true, attributes: 0b10_0000 })
}

/** `bytes` with the checksum that fits. */
export function sealed(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(crc32c(bytes.subarray(21)) >>> 0, 17)
  return bytes
}

/** Much room to read into. */
export function room(records = 1_000_000, bytes = 1_000_000_000): Room {
  return { records, bytes, first: true }
}

/** Reads all that a fetch from `from` brought. */
export function readAll(
  bytes: Buffer,
  options: {
    readonly from?: bigint
    readonly aborted?: ConstructorParameters<typeof Segment>[2]
    readonly maxBatchBytes?: number
  } = {},
): { records: LogRecord[]; next: bigint; corrupt: string | undefined } {
  const { from = 0n, aborted = [], maxBatchBytes = 1_000_000 } = options
  const segment = new Segment(from, bytes, aborted, maxBatchBytes, 0)
  const records: LogRecord[] = []
  let next = from
  for (;;) {
    const read = segment.read(next, { topic: 't', topicId: 'id', partition: 0 }, room(), records)
    if (read.corrupt !== undefined) return { records, next, corrupt: read.corrupt.reason }
    if (read.next === next || read.next === segment.next) {
      return { records, next: read.next, corrupt: segment.corrupt?.reason }
    }
    next = read.next
  }
}

/** Values as text, and their offsets. */
export function seen(records: readonly LogRecord[]): string[] {
  return records.map(({ offset, value }) => `${offset}:${Buffer.from(value ?? []).toString()}`)
}
