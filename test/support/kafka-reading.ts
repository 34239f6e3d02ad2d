import type { Log, LogRecord, Topic } from '../../src/log/port.ts'
import { eventually } from './wait.ts'

/**
 * Reads a partition from an offset up to where the log ends now, and says where that is. A broker that cannot answer just
 * now is asked again.
 */
export async function readToEnd(
  log: Log,
  topic: Topic,
  from = 0n,
  partition = 0,
): Promise<{ records: LogRecord[]; next: bigint }> {
  const records: LogRecord[] = []
  const { id: topicId, name } = topic
  for (let next = from; ; ) {
    const [result] = await log.read([{ topicId, topic: name, partition, offset: next }])
    if (result === undefined) throw new Error('a read without a result')
    if (result.unavailable !== undefined) continue
    const bad = result.outOfRange ?? result.corrupt
    if (bad !== undefined) throw new Error(`offset ${next}: ${bad}`)
    records.push(...result.records)
    if (result.nextOffset === next) return { records, next }
    next = result.nextOffset
  }
}

/** The values as text. */
export function values(records: readonly LogRecord[]): string[] {
  return records.map(({ value }) => Buffer.from(value ?? []).toString())
}

/** A topic of a name of its own on a cluster that others use too; made, and deleted with nothing. */
export async function freshTopic(log: Log, name: string, partitions = 1): Promise<Topic> {
  await log.deleteTopic(name)
  return eventually(async () => log.createTopic(name, { partitions }))
}
