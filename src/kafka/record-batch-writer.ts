import { crc32c } from '@platformatic/kafka'
import type { NewRecord } from '../log/port.ts'
import { varintSize, writeVarint } from './bytes.ts'
import { CODECS, compress, type Compression } from './codecs.ts'
import { HEADER_BYTES, TRANSACTIONAL } from './record-batch.ts'

/** Who writes a batch, so that the broker takes it once and in its turn. */
export interface BatchSequence {
  readonly producerId: bigint
  readonly epoch: number
  /** Number of its first record among those that the producer wrote to the partition in this epoch. */
  readonly sequence: number
  /** Whether it belongs to a transaction. Default `false`. */
  readonly transactional?: boolean
}

type Content = Pick<NewRecord, 'key' | 'value' | 'headers'>
type Timed = Content & Pick<NewRecord, 'timestamp'>

/**
 * About how many bytes a record takes in a batch, before compression. Never less than it does: the deltas that are not
 * known yet are counted with the most they can take.
 */
export function recordSize({ key, value, headers }: Content): number {
  let size = 36 + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, bytes] of headers) size += 10 + Buffer.byteLength(name) + (bytes?.length ?? 0)
  return size
}

/** How many bytes a record takes in a batch of its own, before compression, when that is more than `limit`; else at most `limit`. */
export function aloneSize(record: Timed, limit: number): number {
  const most = HEADER_BYTES + recordSize(record)
  if (most <= limit) return most
  return writeBatch([record], 0, 'none', { producerId: 0n, epoch: 0, sequence: 0 }).length
}

/** A record batch of Kafka's format 2. Records without a timestamp get `now`, in milliseconds since 1970. */
export function writeBatch(
  records: readonly Timed[],
  now: number,
  compression: Compression,
  { producerId, epoch, sequence, transactional = false }: BatchSequence,
): Buffer {
  const times = records.map(({ timestamp }) => timestamp?.getTime() ?? now)
  const baseTime = times[0] as number
  const content = compress(compression, writeRecords(records, times, baseTime))
  const batch = Buffer.allocUnsafe(HEADER_BYTES + content.length)
  // The broker puts the first offset; the leader's epoch is not for us to say.
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt32BE(-1, 12)
  batch.writeInt8(2, 16)
  batch.writeInt16BE(CODECS.indexOf(compression) | (transactional ? TRANSACTIONAL : 0), 21)
  batch.writeInt32BE(records.length - 1, 23)
  batch.writeBigInt64BE(BigInt(baseTime), 27)
  batch.writeBigInt64BE(BigInt(times.reduce((latest, time) => Math.max(latest, time))), 35)
  batch.writeBigInt64BE(producerId, 43)
  batch.writeInt16BE(epoch, 51)
  batch.writeInt32BE(sequence, 53)
  batch.writeInt32BE(records.length, 57)
  content.copy(batch, HEADER_BYTES)
  batch.writeUInt32BE(crc32c(batch.subarray(21)) >>> 0, 17)
  return batch
}

function writeRecords(
  records: readonly Content[],
  times: readonly number[],
  baseTime: number,
): Buffer {
  let most = 0
  for (const record of records) most += recordSize(record)
  const bytes = Buffer.allocUnsafe(most)
  let at = 0
  for (const [index, { key, value, headers }] of records.entries()) {
    const timeDelta = (times[index] as number) - baseTime
    // Attributes take one byte, and are unused.
    let length = 1 + varintSize(timeDelta) + varintSize(index) + varintSize(headers.length)
    length += bytesSize(key) + bytesSize(value)
    for (const [name, headerValue] of headers) {
      const nameLength = Buffer.byteLength(name)
      length += varintSize(nameLength) + nameLength + bytesSize(headerValue)
    }
    at = writeVarint(bytes, at, length)
    bytes[at++] = 0
    at = writeVarint(bytes, at, timeDelta)
    at = writeVarint(bytes, at, index)
    at = writeBytes(bytes, at, key)
    at = writeBytes(bytes, at, value)
    at = writeVarint(bytes, at, headers.length)
    for (const [name, headerValue] of headers) {
      at = writeVarint(bytes, at, Buffer.byteLength(name))
      at += bytes.write(name, at, 'utf8')
      at = writeBytes(bytes, at, headerValue)
    }
  }
  return bytes.subarray(0, at)
}

function bytesSize(bytes: Uint8Array | null): number {
  return bytes === null ? 1 : varintSize(bytes.length) + bytes.length
}

function writeBytes(into: Buffer, at: number, bytes: Uint8Array | null): number {
  if (bytes === null) return writeVarint(into, at, -1)
  const start = writeVarint(into, at, bytes.length)
  into.set(bytes, start)
  return start + bytes.length
}
