import { createHash } from 'node:crypto'
import type { PlacedRecord } from './raw-record.ts'

/**
 * An id for a record that has none of its own: a UUID version 8 (RFC 9562, section 5.8 and appendix B.2), made of the
 * SHA-256 of topic id, partition and offset. The same record always has the same.
 */
export function recordId({ topicId, partition, offset }: PlacedRecord): string {
  const bytes = createHash('sha256')
    .update(`millrace:record:${topicId}/${partition}/${offset}`)
    .digest()
    .subarray(0, 16)
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
