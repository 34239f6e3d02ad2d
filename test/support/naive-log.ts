import type pg from 'pg'
import type { Log, ReadRequest, ReadResult } from '../../src/log/port.ts'

/**
 * A log with the mistake that most outbox readers make: it reads what is visible above the last offset, and goes on from
 * there. For proving that the conformance suite notices.
 */
export function naiveLog(log: Log, pool: pg.Pool): Log {
  async function readNaively({
    topic,
    topicId,
    partition,
    offset,
  }: ReadRequest): Promise<ReadResult> {
    const { rows } = await pool.query<{
      offset: string
      key: Buffer | null
      value: Buffer | null
      timestamp: Date
    }>(
      `select "offset", key, value, "timestamp" from millrace.record
       where topic_id = $1 and partition = $2 and "offset" >= $3 order by "offset"`,
      [topicId, partition, offset],
    )
    const place = { topic, topicId, partition }
    const records = rows.map((row) => ({
      ...row,
      ...place,
      headers: [],
      offset: BigInt(row.offset),
    }))
    const end = (records.at(-1)?.offset ?? offset - 1n) + 1n
    const history = 'naive'
    return { topicId, partition, history, records, nextOffset: end, logStart: 0n, end }
  }
  return {
    kind: 'naive',
    transactional: true,
    createTopic: (name, options) => log.createTopic(name, options),
    deleteTopic: (name) => log.deleteTopic(name),
    topic: (name) => log.topic(name),
    topics: () => log.topics(),
    offsets: (topicId, options) => log.offsets(topicId, options),
    offsetAt: (topicId, partition, time) => log.offsetAt(topicId, partition, time),
    read: (requests) => Promise.all(requests.map(readNaively)),
    onAppend: (listener) => log.onAppend(listener),
    append: (records, options) => log.append(records, options),
    purge: (topicId, partition, beforeOffset) => log.purge(topicId, partition, beforeOffset),
    close: () => log.close(),
  }
}
