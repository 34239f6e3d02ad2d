import type { Log } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'

export { listGaps, type Gap, type GapCode, type GapDecision } from './gaps.ts'

/** How far one application is in one partition. */
export interface ConsumerSummary {
  readonly application: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** Name of the process that reads it; null: nobody just now. */
  readonly owner: string | null
  readonly ownerId: string | null
  readonly epoch: bigint
  readonly generation: number
  /** The next record to read. */
  readonly position: bigint
  /** End of the partition; null when the topic is not there any more. */
  readonly end: bigint | null
  /** Records between position and end; holes count. Null when the end is not known. */
  readonly lag: bigint | null
  readonly state: 'reading' | 'waiting' | 'halted' | 'unowned'
  /** Why it waits or is halted. */
  readonly reason: string | null
  readonly updatedAt: Date
}

/** Every position there is, of one application or all, with its lag. */
export async function listConsumers(
  db: Queryable,
  log: Log,
  filter: { readonly application?: string } = {},
): Promise<ConsumerSummary[]> {
  const { rows } = await db.query<{
    application: string
    topic: string
    topic_id: string
    partition: number
    owner: string | null
    owner_name: string | null
    epoch: string
    generation: number
    next_offset: string
    halted: string | null
    waiting: string | null
    updated_at: Date
  }>(
    `/* millrace:consumer-list */ select p.application, p.topic, p.topic_id, p.partition, p.owner, pr.name as owner_name,
       p.epoch::text, p.generation, p.next_offset::text, p.halted, p.waiting, p.updated_at
     from millrace.position p
     left join millrace.process pr on pr.id = p.owner and pr.expires_at > clock_timestamp()
     where $1::text is null or p.application = $1
     order by p.application, p.topic, p.topic_id, p.partition`,
    [filter.application ?? null],
  )
  const ends = new Map<string, Map<number, bigint>>()
  for (const topicId of new Set(rows.map((row) => row.topic_id))) {
    const offsets = await log.offsets(topicId)
    ends.set(topicId, new Map(offsets.map(({ partition, end }) => [partition, end])))
  }
  return rows.map((row) => {
    const position = BigInt(row.next_offset)
    const end = ends.get(row.topic_id)?.get(row.partition) ?? null
    return {
      application: row.application,
      topic: row.topic,
      topicId: row.topic_id,
      partition: row.partition,
      owner: row.owner_name,
      ownerId: row.owner,
      epoch: BigInt(row.epoch),
      generation: row.generation,
      position,
      end,
      lag: end === null ? null : end > position ? end - position : 0n,
      state:
        row.halted !== null
          ? 'halted'
          : row.owner_name === null
            ? 'unowned'
            : row.waiting !== null
              ? 'waiting'
              : 'reading',
      reason: row.halted ?? row.waiting,
      updatedAt: row.updated_at,
    }
  })
}
