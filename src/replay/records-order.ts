import type { StartPosition } from '../consumer/application.ts'
import { knownPositions } from '../consumer/scope.ts'
import { startOffset } from '../consumer/start-offset.ts'
import type { OrderedBy } from '../control/operator-action.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Log } from '../log/port.ts'
import { checkOrder, writeReplay, type ReplayOrderParts } from './order.ts'
import type { Replay, ReplayPace } from './replay.ts'

/** A replay of past records that is ordered. */
export interface RecordsReplayOrder extends Partial<ReplayPace>, Pick<OrderedBy, 'reason'> {
  readonly application: string
  /** Name of the one handler that they go to: see `Application.on`. */
  readonly handler: string
  readonly topic: string
  /** Default: all. */
  readonly partition?: number | undefined
  /** Where it begins. Default `'beginning'`. */
  readonly from?: StartPosition | undefined
  /** Where it ends, itself not included; at most where the log ends now. Default `'end'`. */
  readonly to?: StartPosition | undefined
}

/** The offsets that a replay of past records goes over, per partition. Holes count. */
export interface RecordsRange {
  readonly partition: number
  readonly from: bigint
  readonly to: bigint
}

/** What an order of past records means. */
export interface RecordsPlan {
  readonly topicId: string
  readonly ranges: readonly RecordsRange[]
  /** How many offsets that is. */
  readonly total: bigint
}

/**
 * Which offsets an order of past records means, as the log is now; changes nothing.
 * @throws E_LOG_UNKNOWN_TOPIC
 */
export async function planRecordsReplay(
  log: Log,
  { topic: name, partition, from = 'beginning', to = 'end' }: RecordsReplayOrder,
): Promise<RecordsPlan> {
  const topic = await log.topic(name)
  if (topic === undefined)
    throw new MillraceError('E_LOG_UNKNOWN_TOPIC', `there is no topic '${name}'`, {
      details: { topic: name },
    })
  const ranges: RecordsRange[] = []
  const all = await log.offsets(
    topic.id,
    partition === undefined ? {} : { partitions: [partition] },
  )
  for (const offsets of all) {
    if (offsets.unavailable !== undefined)
      throw new MillraceError('E_LOG_UNAVAILABLE', offsets.unavailable, { retryable: true })
    const begin = await startOffset(log, topic.id, offsets, from)
    const end = await startOffset(log, topic.id, offsets, to)
    const last = end > offsets.end ? offsets.end : end
    const first = begin < offsets.start ? offsets.start : begin
    if (first < last) ranges.push({ partition: offsets.partition, from: first, to: last })
  }
  const total = ranges.reduce((sum, range) => sum + range.to - range.from, 0n)
  return { topicId: topic.id, ranges, total }
}

/**
 * Orders that past records go to one handler of an application again, at positions of their own that are thrown away
 * afterwards; the application's own positions are not touched. Their jobs are new ones, on purpose.
 * @param plan what somebody was shown and has confirmed. Default: what the order means now.
 * @throws E_CONFIG_INVALID; E_LOG_UNKNOWN_TOPIC; E_CONSUMER_NOT_FOUND when the application does not read the topic.
 */
export async function orderRecordsReplay(
  parts: ReplayOrderParts & { log(): Promise<Log> },
  order: RecordsReplayOrder,
  plan?: RecordsPlan,
): Promise<Replay> {
  const { application, handler, topic, reason, partition, from, to, ...pace } = order
  const selection = { application }
  checkOrder({ selection, ...pace })
  await knownPositions(parts.pool, { application, topic, partition })
  const { topicId, ranges, total } = plan ?? (await planRecordsReplay(await parts.log(), order))
  return writeReplay(parts, { selection, ...pace, reason }, total, {
    action: 'records',
    filter: { application, handler, topic, partition, from, to },
    async more(tx, id) {
      await tx.query(
        '/* millrace:replay-records */ update millrace.replay set handler = $2, topic = $3, topic_id = $4 where id = $1',
        [id, handler, topic, topicId],
      )
      await tx.query(
        `/* millrace:replay-ranges */ insert into millrace.replay_range (replay_id, partition, next_offset, end_offset)
         select $1, * from unnest($2::int[], $3::bigint[], $4::bigint[])`,
        [id, ranges.map((r) => r.partition), ranges.map((r) => r.from), ranges.map((r) => r.to)],
      )
    },
  })
}
