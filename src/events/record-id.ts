import { uuidOfName } from '../core/name-id.ts'
import type { PlacedRecord } from './raw-record.ts'

/**
 * An id for a record that has none of its own: a UUID of topic id, partition and offset. The same record always has the
 * same.
 */
export function recordId({ topicId, partition, offset }: PlacedRecord): string {
  return uuidOfName(`millrace:record:${topicId}/${partition}/${offset}`)
}
