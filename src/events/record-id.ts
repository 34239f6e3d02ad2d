import { hash } from 'node:crypto'
import { isUuid } from '../core/ids.ts'
import type { PlacedRecord } from './raw-record.ts'

/** First halves of ids by topic id and partition; made anew when there are more partitions than anybody reads. */
const halves = new Map<string, string>()
const MAX_HALVES = 10_000
/** The variant of RFC 9562 in front of 62 bits. */
const VARIANT = 1n << 63n

/**
 * An id for a record that has none of its own: a UUID version 8 (RFC 9562, section 5.8), of which 60 bits are the SHA-256 of
 * topic id and partition, and 62 the offset. The same record always has the same, and ids of a partition sort by offset.
 *
 * The offset stands as it is, for a hash of its own was a tenth of what a record costs on its way to a job.
 */
export function recordId({ topicId, partition, offset }: PlacedRecord): string {
  const where = `${topicId}/${partition}`
  let half = halves.get(where)
  if (half === undefined) {
    half = halfOf(where)
    if (halves.size === MAX_HALVES) halves.clear()
    halves.set(where, half)
  }
  const tail = (VARIANT | BigInt.asUintN(62, offset)).toString(16)
  return `${half}-${tail.slice(0, 4)}-${tail.slice(4)}`
}

/** The offset in an id that {@link recordId} made for a record of this partition; of any other id `undefined`. */
export function offsetInId(
  id: string,
  { topicId, partition }: Pick<PlacedRecord, 'topicId' | 'partition'>,
): bigint | undefined {
  const half = halfOf(`${topicId}/${partition}`)
  if (!id.startsWith(`${half}-`) || !isUuid(id)) return undefined
  return BigInt.asUintN(62, BigInt(`0x${id.slice(19).replace('-', '')}`))
}

function halfOf(where: string): string {
  const hex = hash('sha256', `millrace:record:${where}`, 'hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(12, 15)}`
}
