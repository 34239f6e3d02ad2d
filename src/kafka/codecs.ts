import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { compressionsAlgorithms } from '@platformatic/kafka'
import { BrokenBytes } from './bytes.ts'

/** How records are compressed. */
export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** By the number that a batch's attributes name them with. */
export const CODECS: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

/** `bytes` compressed. */
export function compress(codec: Compression, bytes: Buffer): Buffer {
  return codec === 'none' ? bytes : compressionsAlgorithms[codec].compressSync(bytes)
}

/**
 * `bytes` decompressed: at most `limit` bytes, so that a small batch cannot fill the memory.
 * @throws BrokenBytes with the reason.
 */
export function decompress(codec: Compression, bytes: Buffer, limit: number): Buffer {
  try {
    switch (codec) {
      case 'none':
        return bytes
      case 'gzip':
        return gunzipSync(bytes, { maxOutputLength: limit })
      case 'zstd':
        return zstdDecompressSync(bytes, { maxOutputLength: limit })
      case 'snappy':
        checkSize(snappySize(bytes), limit)
        return compressionsAlgorithms.snappy.decompressSync(bytes)
      case 'lz4':
        checkSize(lz4Size(bytes), limit)
        return compressionsAlgorithms.lz4.decompressSync(bytes)
    }
  } catch (error) {
    if (error instanceof BrokenBytes) throw error
    if ((error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limit)
    throw new BrokenBytes(`its ${codec} does not decompress`, { cause: error })
  }
}

function checkSize(size: number, limit: number): void {
  if (size > limit) throw tooLarge(limit)
}

function tooLarge(limit: number): BrokenBytes {
  return new BrokenBytes(`it decompresses to more than the ${limit} bytes allowed`)
}

/** What the Java client puts before blocks of snappy: a magic of eight bytes and two versions. */
const XERIAL = Buffer.from('82534e4150505900', 'hex')
const XERIAL_HEADER = 16

function snappySize(bytes: Buffer): number {
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) return snappyBlockSize(bytes, 0)
  let size = 0
  for (let at = XERIAL_HEADER; at < bytes.length; ) {
    if (at + 4 > bytes.length) throw new BrokenBytes('its snappy is cut off')
    size += snappyBlockSize(bytes, at + 4)
    at += 4 + bytes.readUInt32BE(at)
  }
  return size
}

/** A block begins with its decompressed size, in groups of seven bits. */
function snappyBlockSize(bytes: Buffer, at: number): number {
  let size = 0
  for (let group = 0; group < 5; group += 1) {
    const byte = bytes[at + group]
    if (byte === undefined) break
    size += (byte & 0x7f) * 128 ** group
    if (byte < 0x80) return size
  }
  throw new BrokenBytes('its snappy is cut off')
}

const LZ4_MAGIC = 0x184d2204
const LZ4_BLOCK_SIZES: readonly (number | undefined)[] = [
  undefined,
  undefined,
  undefined,
  undefined,
  65_536,
  262_144,
  1_048_576,
  4_194_304,
]

/**
 * The most that an LZ4 frame may decompress to: its blocks times their greatest size. LZ4 makes at most 255 bytes of one,
 * which bounds it further.
 */
function lz4Size(bytes: Buffer): number {
  if (bytes.length < 7 || bytes.readUInt32LE(0) !== LZ4_MAGIC) {
    throw new BrokenBytes('its lz4 has no frame')
  }
  const flags = bytes[4] as number
  const blockSize = LZ4_BLOCK_SIZES[((bytes[5] as number) >>> 4) & 7]
  if (blockSize === undefined) throw new BrokenBytes('its lz4 has blocks of no known size')
  const hasChecksums = (flags & 0x10) !== 0
  let at = 7 + ((flags & 0x08) === 0 ? 0 : 8) + ((flags & 0x01) === 0 ? 0 : 4)
  let most = 0
  for (;;) {
    if (at + 4 > bytes.length) throw new BrokenBytes('its lz4 is cut off')
    const size = bytes.readUInt32LE(at)
    if (size === 0) return most
    const length = size & 0x7fffffff
    most += size > 0x7fffffff ? length : Math.min(blockSize, 255 * length)
    at += 4 + length + (hasChecksums ? 4 : 0)
  }
}
