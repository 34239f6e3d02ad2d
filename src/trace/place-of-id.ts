import { offsetInId } from '../events/record-id.ts'
import type { Log } from '../log/port.ts'
import { isRecordId } from './event-fact.ts'
import type { NamedPlace } from './handling-facts.ts'

/**
 * Where the record stands whose place such an id was made of. The offset stands in the id, topic and partition only as a hash:
 * it is compared with that of every partition that the log has, 1 µs for each.
 */
export async function placeOfId(
  log: Pick<Log, 'topics'>,
  id: string,
): Promise<NamedPlace | undefined> {
  if (!isRecordId(id)) return undefined
  for (const { name: topic, id: topicId, partitions } of await log.topics()) {
    for (let partition = 0; partition < partitions; partition += 1) {
      const offset = offsetInId(id, { topicId, partition })
      if (offset !== undefined) return { topic, topicId, partition, offset }
    }
  }
  return undefined
}
