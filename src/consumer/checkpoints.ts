import { MillraceError } from '../errors/millrace-error.ts'
import type { Log, PartitionOffsets } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { hashOf } from './record-hash.ts'
import type { PositionKey } from './positions.ts'
import type { OrderedPosition } from './scope.ts'

/** A record that was handled, by its offset and the hash of its content. */
export interface Checkpoint {
  readonly offset: bigint
  readonly hash: Uint8Array
}

/** Batches that are looked back over; more than a day of a busy partition. */
const MOST = 20_000
/** The same, where a look is to be quick. */
const MOST_OF_READING = 1_000

/**
 * The newest checkpoint below a position that the log still has as it was: up to it the log is the same, for a log that
 * loses its tail is rewritten from there on. None: nothing that was handled can be found again.
 *
 * Looks at the last record of the position, then of its batches, in growing steps back and then in between: some 30 reads
 * for all of them. One that is missing, by compaction or retention, counts as not the same, so what is found may be older
 * than it need be, and is never too new.
 * @throws E_LOG_UNAVAILABLE, retryable, when the log cannot be read just now.
 */
export async function lastMatch(
  db: Queryable,
  log: Log,
  position: OrderedPosition,
  range: PartitionOffsets,
): Promise<Checkpoint | undefined> {
  const known = await checkpointsOf(db, position, range)
  let matching: number | undefined
  let failed = -1
  for (let at = 0, step = 1; at < known.length; at += step, step *= 2) {
    if (await isSame(log, position, known[at] as Checkpoint)) {
      matching = at
      break
    }
    failed = at
  }
  // The growing steps may have gone past the oldest.
  if (matching === undefined && failed < known.length - 1) {
    const oldest = known.length - 1
    if (await isSame(log, position, known[oldest] as Checkpoint)) matching = oldest
  }
  if (matching === undefined) return undefined
  while (matching - failed > 1) {
    const middle: number = (matching + failed) >> 1
    if (await isSame(log, position, known[middle] as Checkpoint)) matching = middle
    else failed = middle
  }
  return known[matching]
}

/**
 * The newest checkpoints of a position that the log could have, newest first, one per offset: of the reading that it is
 * in, for of an earlier one it may be known that the log is another since.
 */
export async function checkpointsOfReading(
  db: Queryable,
  position: PositionKey & Pick<OrderedPosition, 'next' | 'generation'>,
  range: PartitionOffsets,
): Promise<Checkpoint[]> {
  const { generation } = position
  const from = { ...position, lastOffset: null, lastHash: null }
  return checkpointsOf(db, from, range, { generation, most: MOST_OF_READING })
}

/** Newest first, one per offset, only those that the log could have. */
async function checkpointsOf(
  db: Queryable,
  {
    application,
    topicId,
    partition,
    next,
    lastOffset,
    lastHash,
  }: PositionKey & Pick<OrderedPosition, 'next' | 'lastOffset' | 'lastHash'>,
  range: PartitionOffsets,
  { generation, most }: { readonly generation: number; readonly most: number } = {
    generation: 0,
    most: MOST,
  },
): Promise<Checkpoint[]> {
  const { rows } = await db.query<{ offset: string; hash: Buffer }>(
    `/* millrace:checkpoints */ select last_offset::text as "offset", last_hash as hash from (
       select generation, last_offset, last_hash from millrace.batch
       where application = $1 and topic_id = $2 and partition = $3 and generation >= $5
       order by generation desc, first_offset desc limit $4
     ) b where last_offset is not null order by last_offset desc, generation desc`,
    [application, topicId, partition, most, generation],
  )
  const found = new Map<bigint, Checkpoint>()
  const add = (offset: bigint, hash: Uint8Array): void => {
    const isThere = offset >= range.start && offset < range.appendOffset && offset < next
    if (isThere && !found.has(offset)) found.set(offset, { offset, hash })
  }
  if (lastOffset !== null && lastHash !== null) add(lastOffset, lastHash)
  for (const { offset, hash } of rows) add(BigInt(offset), hash)
  return [...found.values()].sort((a, b) => (a.offset < b.offset ? 1 : -1))
}

async function isSame(
  log: Log,
  { topic, topicId, partition }: OrderedPosition,
  { offset, hash }: Checkpoint,
): Promise<boolean> {
  const [read] = await log.read([{ topic, topicId, partition, offset, maxRecords: 1 }])
  if (read?.unavailable !== undefined) {
    throw new MillraceError(
      'E_LOG_UNAVAILABLE',
      `${topic}/${partition} cannot be read just now, so nobody can say how far it is as it was: ${read.unavailable}`,
      { retryable: true },
    )
  }
  const record = read?.records[0]
  return record?.offset === offset && Buffer.from(hash).equals(hashOf(record))
}
