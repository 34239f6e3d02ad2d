import { selectionFromJson, type DeadLetterSelection } from '../dead-letter/selection.ts'

/** How far a replay is. */
export type ReplayState =
  /** It is worked on, or will be once a process runs its application. */
  | 'running'
  /** Held, by an operator or because a canary failed; it can be resumed. */
  | 'paused'
  /** Everything has its outcome. */
  | 'finished'
  /** Ended by its own limit of failures; it can be resumed. */
  | 'stopped'
  /** Ended by an operator. */
  | 'aborted'

/** How a replay goes about it. */
export interface ReplayPace {
  /** Really decodes, validates, prepares and applies, and rolls all of it back. */
  readonly dryRun: boolean
  /** Most dead letters a second; null: as fast as it goes. */
  readonly rate: number | null
  /** So many are tried first; a failure among them pauses it. Null: none. */
  readonly canary: number | null
  /** So many failures end it. Null: any number. */
  readonly stopAfter: number | null
  /** Such a share of failures ends it, once 20 were tried. From 0 to 1. Null: any share. */
  readonly stopShare: number | null
  /** A dead letter that has failed in so many replays is parked. */
  readonly maxReplays: number
}

/** Past records, and who is to handle them again. */
export interface PastRecords {
  readonly handler: string
  readonly topic: string
  readonly topicId: string
}

/** A replay, as it is kept. */
export interface Replay extends ReplayPace {
  readonly id: bigint
  readonly application: string | null
  readonly selection: DeadLetterSelection
  /** What is worked through where these are no dead letters: past records of a topic, by one handler. */
  readonly records: PastRecords | null
  /** The first dead letter that may not have its outcome. */
  readonly next: bigint
  /** The first that is not worked on: those that came after the order. */
  readonly end: bigint
  readonly state: ReplayState
  readonly note: string | null
  /** How many fitted when it was ordered. */
  readonly total: bigint
  /** Handled; in a dry run: would be. A job passed when it was given back to its queue. */
  readonly passed: bigint
  readonly failed: bigint
  /**
   * Not open any more when their turn came; in a dry run also jobs, which cannot be tried without being executed. Of past
   * records: nothing for the handler, or not in the log any more.
   */
  readonly skipped: bigint
  /** Of those that failed, how many are parked now. */
  readonly parked: bigint
  /** Id of the process that works on it. */
  readonly owner: string | null
  readonly epoch: bigint
  readonly orderedBy: string
  readonly reason: string | null
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
  readonly updatedAt: Date
}

/** The columns of {@link ReplayRow}, for an alias `r`. */
export const REPLAY_COLUMNS = `r.id::text, r.application, r.selection, r.handler, r.topic, r.topic_id, r.next_id::text, r.end_id::text, r.dry_run, r.rate,
  r.canary, r.stop_after, r.stop_share, r.max_replays, r.state, r.note, r.total::text, r.passed::text, r.failed::text,
  r.skipped::text, r.parked::text, r.owner, r.epoch::text, r.ordered_by, r.reason, r.created_at, r.started_at,
  r.finished_at, r.updated_at`

/** A row of `millrace.replay` as the driver gives it. */
export interface ReplayRow extends Record<string, unknown> {
  id: string
  application: string | null
  selection: unknown
  handler: string | null
  topic: string | null
  topic_id: string | null
  next_id: string
  end_id: string
  dry_run: boolean
  rate: number | null
  canary: number | null
  stop_after: number | null
  stop_share: number | null
  max_replays: number
  state: ReplayState
  note: string | null
  total: string
  passed: string
  failed: string
  skipped: string
  parked: string
  owner: string | null
  epoch: string
  ordered_by: string
  reason: string | null
  created_at: Date
  started_at: Date | null
  finished_at: Date | null
  updated_at: Date
}

export function replayOf(row: ReplayRow): Replay {
  return {
    id: BigInt(row.id),
    application: row.application,
    selection: selectionFromJson(row.selection),
    records:
      row.handler === null || row.topic === null || row.topic_id === null
        ? null
        : { handler: row.handler, topic: row.topic, topicId: row.topic_id },
    next: BigInt(row.next_id),
    end: BigInt(row.end_id),
    dryRun: row.dry_run,
    rate: row.rate,
    canary: row.canary,
    stopAfter: row.stop_after,
    stopShare: row.stop_share,
    maxReplays: row.max_replays,
    state: row.state,
    note: row.note,
    total: BigInt(row.total),
    passed: BigInt(row.passed),
    failed: BigInt(row.failed),
    skipped: BigInt(row.skipped),
    parked: BigInt(row.parked),
    owner: row.owner,
    epoch: BigInt(row.epoch),
    orderedBy: row.ordered_by,
    reason: row.reason,
    createdAt: row.created_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    updatedAt: row.updated_at,
  }
}
