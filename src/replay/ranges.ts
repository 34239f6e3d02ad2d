import type { ErrorDescription } from '../errors/describe.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { plainArray, textArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** Where a replay of past records is in a partition. */
export interface ReplayRange {
  readonly replayId: bigint
  readonly partition: number
  readonly next: bigint
  /** The first offset that is not replayed. */
  readonly end: bigint
  /**
   * Moves it on, if it is where this reader left it.
   * @throws E_CONSUMER_NOT_OWNER
   */
  move(db: Queryable, from: bigint, to: bigint): Promise<void>
}

/** The first partition in which something is left. */
export async function nextRange(db: Queryable, replayId: bigint): Promise<ReplayRange | undefined> {
  const { rows } = await db.query<{ partition: number; next: string; end: string }>(
    `/* millrace:replay-range */ select partition, next_offset::text as next, end_offset::text as end
     from millrace.replay_range where replay_id = $1 and next_offset < end_offset order by partition limit 1`,
    [replayId],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  const { partition } = row
  return {
    replayId,
    partition,
    next: BigInt(row.next),
    end: BigInt(row.end),
    async move(tx, from, to) {
      const { rowCount } = await tx.query(
        `/* millrace:replay-range-move */ update millrace.replay_range set next_offset = $4
         where replay_id = $1 and partition = $2 and next_offset = $3`,
        [replayId, partition, from, to],
      )
      if (rowCount === 1) return
      throw new MillraceError(
        'E_CONSUMER_NOT_OWNER',
        `replay ${replayId} was moved on by another process in partition ${partition}; this chunk was rolled back`,
      )
    },
  }
}

/** Whether a range has been moved to `offset`, or further: asked when the reply to COMMIT was lost. */
export async function rangeIsAt(
  db: Queryable,
  { replayId, partition }: Pick<ReplayRange, 'replayId' | 'partition'>,
  offset: bigint,
): Promise<boolean> {
  const { rows } = await db.query(
    `/* millrace:replay-range-at */ select from millrace.replay_range
     where replay_id = $1 and partition = $2 and next_offset >= $3`,
    [replayId, partition, offset],
  )
  return rows.length > 0
}

/** Adds to what a replay says about itself, in the transaction that makes it true. */
export async function addToNote(db: Queryable, replayId: bigint, text: string): Promise<void> {
  await db.query(
    `/* millrace:replay-note */ update millrace.replay set note = left(concat_ws('; ', note, $2::text), 1000) where id = $1`,
    [replayId, text],
  )
}

/** Why a past record did not pass. */
export interface RecordFailure {
  readonly fingerprint: string
  readonly error: ErrorDescription
  readonly partition: number
  readonly offset: bigint
}

/** Counts failures by their cause; of each cause the first is kept. */
export async function noteFailures(
  db: Queryable,
  replayId: bigint,
  failures: readonly RecordFailure[],
): Promise<void> {
  if (failures.length === 0) return
  const groups = [...Map.groupBy(failures, ({ fingerprint }) => fingerprint).values()]
  const first = groups.map((group) => group[0] as RecordFailure)
  await db.query(
    `/* millrace:replay-failure */ insert into millrace.replay_failure as f (replay_id, fingerprint, count, error, partition, "offset")
     select $1, u.fingerprint, u.n, u.error::json, u.partition, u.at
     from unnest($2::text[], $3::bigint[], $4::text[], $5::int[], $6::bigint[]) u(fingerprint, n, error, partition, at)
     on conflict (replay_id, fingerprint) do update set count = f.count + excluded.count`,
    [
      replayId,
      textArray(first.map(({ fingerprint }) => fingerprint)),
      plainArray(groups.map(({ length }) => length)),
      textArray(first.map(({ error }) => JSON.stringify(error))),
      plainArray(first.map(({ partition }) => partition)),
      plainArray(first.map(({ offset }) => String(offset))),
    ],
  )
}
