import type { Queryable } from '../postgres/queryable.ts'
import type { PartitionOffsets } from './port.ts'

/** How many records one transaction of a purge deletes. */
const PURGE_CHUNK = 5_000

/** How far each partition reaches. */
export async function findOffsets(db: Queryable, topicId: string): Promise<PartitionOffsets[]> {
  const { rows } = await db.query<{
    partition: number
    start: string
    end: string
    append: string
  }>(
    `/* millrace:log-offsets */ with p as (
       select array_agg(lp.topic_id order by lp.partition) as ids, array_agg(lp.partition order by lp.partition) as numbers
       from millrace.log_partition lp where lp.topic_id = $1
     )
     select p.numbers[h.ord] as partition, h.log_start::text as start, h.horizon::text as end,
       h.next_offset::text as append
     from p, millrace.log_horizon(p.ids, p.numbers) h order by partition`,
    [topicId],
  )
  return rows.map(({ partition, start, end, append }) => ({
    partition,
    start: BigInt(start),
    end: BigInt(end),
    appendOffset: BigInt(append),
  }))
}

/** See `Log.offsetAt`; `undefined` when there is no such partition. */
export async function findOffsetAt(
  db: Queryable,
  topicId: string,
  partition: number,
  time: Date,
): Promise<bigint | undefined> {
  const horizon = await findHorizon(db, topicId, partition)
  if (horizon === undefined) return undefined
  // Timestamps are given by writers and need not grow, so this walks from the start. A record at or above the horizon says
  // nothing of those still undecided before it.
  const { rows } = await db.query<{ offset: string }>(
    `/* millrace:log-offset-at */ select r."offset"::text as offset from millrace.record r
     where r.topic_id = $1 and r.partition = $2 and r."offset" < $3 and r."timestamp" >= $4
     order by r."offset" limit 1`,
    [topicId, partition, String(horizon), time.toISOString()],
  )
  return rows[0] === undefined ? horizon : BigInt(rows[0].offset)
}

/**
 * See `Log.purge`; `undefined` when there is no such partition. The start moves in the transaction that deletes, so a
 * reader never takes what was purged for a hole; killed half-way, the next call goes on.
 */
export async function purgePartition(
  db: Queryable,
  topicId: string,
  partition: number,
  beforeOffset: bigint,
): Promise<bigint | undefined> {
  // Taken before the statements that delete: all that lies below it is visible to them.
  const horizon = await findHorizon(db, topicId, partition)
  if (horizon === undefined) return undefined
  const before = beforeOffset < horizon ? beforeOffset : horizon
  for (;;) {
    const { rows } = await db.query<{ start: string; done: boolean }>(
      `/* millrace:log-purge */ with cut as (
         select lp.log_start, coalesce(
           (select r."offset" from millrace.record r
            where r.topic_id = $1 and r.partition = $2 and r."offset" >= lp.log_start and r."offset" < $3
            order by r."offset" offset $4 limit 1), $3::bigint) as at
         from millrace.log_partition lp where lp.topic_id = $1 and lp.partition = $2
       ), moved as (
         update millrace.log_partition lp set log_start = cut.at from cut
         where lp.topic_id = $1 and lp.partition = $2 and lp.log_start < cut.at
         returning lp.log_start
       ), deleted as (
         delete from millrace.record r using moved, cut
         where r.topic_id = $1 and r.partition = $2 and r."offset" >= cut.log_start and r."offset" < moved.log_start
       )
       select greatest(cut.log_start, cut.at)::text as start, cut.at >= $3::bigint as done from cut`,
      [topicId, partition, String(before), PURGE_CHUNK],
    )
    const row = rows[0]
    if (row === undefined) return undefined
    if (row.done) return BigInt(row.start)
  }
}

async function findHorizon(
  db: Queryable,
  topicId: string,
  partition: number,
): Promise<bigint | undefined> {
  const { rows } = await db.query<{ horizon: string }>(
    `/* millrace:log-horizon */ select h.horizon::text as horizon
     from millrace.log_horizon(array[$1]::uuid[], array[$2]::integer[]) h`,
    [topicId, partition],
  )
  return rows[0] === undefined ? undefined : BigInt(rows[0].horizon)
}
