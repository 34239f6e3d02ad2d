import type { ErrorDescription } from '../errors/describe.ts'
import type { Queryable } from '../postgres/queryable.ts'
import {
  replayOf,
  REPLAY_COLUMNS,
  type Replay,
  type ReplayRow,
  type ReplayState,
} from './replay.ts'

// What operators may order stands beside what they may ask.
export {
  changeReplay,
  countReplay,
  getReplay,
  orderReplay,
  type ReplayChange,
  type ReplayOrder,
} from './order.ts'
export { orderRecordsReplay, planRecordsReplay, type RecordsReplayOrder } from './records-order.ts'
export type { Replay, ReplayState } from './replay.ts'

/** Which replays to list. */
export interface ReplayFilter {
  readonly application?: string | undefined
  readonly state?: ReplayState | undefined
  /** Only those with a lower number: the next page. */
  readonly before?: bigint | undefined
  /** At most this many. Default 50. Bounds 1 … 1,000. */
  readonly limit?: number
}

/** Replays, newest first, a page at a time. */
export async function listReplays(db: Queryable, filter: ReplayFilter = {}): Promise<Replay[]> {
  const { rows } = await db.query<ReplayRow>(
    `/* millrace:replay-list */ select ${REPLAY_COLUMNS} from millrace.replay r
     where ($1::text is null or r.application = $1) and ($2::text is null or r.state = $2)
       and ($3::bigint is null or r.id < $3)
     order by r.id desc limit $4`,
    [
      filter.application ?? null,
      filter.state ?? null,
      filter.before ?? null,
      Math.min(1_000, Math.max(1, filter.limit ?? 50)),
    ],
  )
  return rows.map(replayOf)
}

/** Failures of a replay that have one cause. */
export interface ReplayFailures {
  readonly fingerprint: string | null
  readonly count: bigint
  /** Of the first one. */
  readonly error: ErrorDescription
  /** The first one: number of a dead letter, or place of a past record. */
  readonly example: string
}

/** Why dead letters did not pass in a replay, most frequent first, at most 20 causes. */
export async function replayFailures(db: Queryable, id: bigint): Promise<ReplayFailures[]> {
  const { rows } = await db.query<{
    fingerprint: string | null
    count: string
    example: string
    error: ErrorDescription
  }>(
    `/* millrace:replay-failures */ select * from (select g.fingerprint, g.count::text, 'dead letter ' || g.example as example, o.error
     from (select fingerprint, count(*) as count, min(dead_letter_id) as example from millrace.replay_outcome
       where replay_id = $1 and outcome in ('failed', 'not-run') group by fingerprint order by 2 desc limit 20) g
     join millrace.replay_outcome o on o.replay_id = $1 and o.dead_letter_id = g.example) l
     union all
     select * from (select f.fingerprint, f.count::text, r.topic || '/' || f.partition || '@' || f."offset", f.error
     from millrace.replay_failure f join millrace.replay r on r.id = f.replay_id
     where f.replay_id = $1 order by f.count desc limit 20) p`,
    [id],
  )
  const found = rows.map(({ fingerprint, count, example, error }) => ({
    fingerprint,
    count: BigInt(count),
    example,
    error,
  }))
  return found.sort((a, b) => Number(b.count - a.count))
}

/** What a replay did with a dead letter. */
export interface LetterOutcome {
  readonly replay: bigint
  readonly dryRun: boolean
  readonly outcome: 'passed' | 'failed' | 'skipped' | 'not-run'
  readonly error: ErrorDescription | null
  readonly orderedBy: string
  readonly at: Date
}

/** What replays did with a dead letter, oldest first. */
export async function outcomesOf(db: Queryable, deadLetterId: bigint): Promise<LetterOutcome[]> {
  const { rows } = await db.query<Record<string, unknown>>(
    `/* millrace:replay-letter-outcomes */ select o.replay_id::text as replay, r.dry_run as "dryRun", o.outcome, o.error,
       r.ordered_by as "orderedBy", o.at
     from millrace.replay_outcome o join millrace.replay r on r.id = o.replay_id
     where o.dead_letter_id = $1 order by o.replay_id limit 100`,
    [deadLetterId],
  )
  return rows.map((row) => ({ ...row, replay: BigInt(row['replay'] as string) }) as LetterOutcome)
}
