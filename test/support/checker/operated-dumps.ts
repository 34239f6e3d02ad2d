import type { Queryable } from '../../../src/postgres/queryable.ts'

/** A replay at the end of the run, with what its outcomes are. */
export interface ReplayDump {
  readonly id: bigint
  readonly state: string
  readonly dryRun: boolean
  /** Of past records, whose outcomes are not kept one by one. */
  readonly ofRecords: boolean
  readonly counts: ReplayCounts
  /** How many rows of `millrace.replay_outcome` there are. */
  readonly outcomes: Omit<ReplayCounts, 'parked'>
}

/** What became of the dead letters of a replay, in numbers. Jobs that were not run are among the skipped. */
export interface ReplayCounts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly parked: number
}

/** A change of a dead letter's state, revision or number of replays that the shadow table saw committed. */
export interface LetterTransition {
  readonly seq: bigint
  /** The transaction that did it. */
  readonly xid: string
  readonly actor: string
  readonly id: bigint
  readonly stage: string
  readonly jobId: string | null
  /** Null: it is new. */
  readonly from: string | null
  /** Null: it was deleted. */
  readonly to: string | null
  /** Whether its revision changed. */
  readonly edited: boolean
  readonly revision: number
  /** By how many its number of replays grew. */
  readonly replays: number
}

/** A change of a replay's state or numbers that the shadow table saw committed. */
export interface ReplayTransition {
  readonly seq: bigint
  readonly xid: string
  readonly actor: string
  readonly id: bigint
  readonly ofRecords: boolean
  readonly dryRun: boolean
  readonly total: number
  /** Null: it is new. */
  readonly from: string | null
  readonly to: string
  /** Whether an operator did it: it is new, or its owner was taken off under a new epoch. */
  readonly ordered: boolean
  /** By how much its numbers grew. */
  readonly counts: ReplayCounts
}

/** A row of `millrace.replay_outcome` that the shadow table saw come, change or go. */
export interface OutcomeTransition {
  readonly xid: string
  readonly op: 'insert' | 'update' | 'delete'
  readonly replayId: bigint
  readonly letterId: bigint
  readonly outcome: string
}

/** A pause that the shadow table saw set, set anew or taken back. */
export interface PauseTransition {
  readonly xid: string
  readonly actor: string
  readonly op: 'insert' | 'update' | 'delete'
  /** What it holds back, as `application/topic/partition`. */
  readonly scope: string
}

/** A row of the audit that the shadow table saw come, change or go. */
export interface ActionTransition {
  readonly xid: string
  readonly op: 'insert' | 'update' | 'delete'
  readonly id: bigint
  readonly operator: string
  readonly action: string
  readonly count: number
  /** The one dead letter that was edited, or the replay that was ordered or changed. */
  readonly subject: string | null
}

/** What operators did, and what replays did with dead letters. */
export interface OperatedDumps {
  readonly replays: readonly ReplayDump[]
  readonly letterTransitions: readonly LetterTransition[]
  readonly replayTransitions: readonly ReplayTransition[]
  readonly outcomeTransitions: readonly OutcomeTransition[]
  readonly pauseTransitions: readonly PauseTransition[]
  readonly actionTransitions: readonly ActionTransition[]
}

/** Reads it, by plain SQL on the tables. */
export async function readOperated(db: Queryable): Promise<OperatedDumps> {
  const rows = async <R>(sql: string): Promise<(R & Record<string, unknown>)[]> =>
    (await db.query<R & Record<string, unknown>>(sql)).rows
  const counts = (of: string): string =>
    `json_build_object('passed', ${of}passed, 'failed', ${of}failed, 'skipped', ${of}skipped, 'parked', ${of}parked) as counts`
  const replays = await rows<Omit<ReplayDump, 'id'> & { id: string }>(
    `select r.id::text, r.state, r.dry_run as "dryRun", r.handler is not null as "ofRecords", ${counts('r.')},
       json_build_object('passed', count(*) filter (where o.outcome = 'passed'),
         'failed', count(*) filter (where o.outcome = 'failed'),
         'skipped', count(*) filter (where o.outcome in ('skipped', 'not-run'))) as outcomes
     from millrace.replay r left join millrace.replay_outcome o on o.replay_id = r.id group by r.id order by r.id`,
  )
  const letters = await rows<Omit<LetterTransition, 'id' | 'seq'> & { id: string; seq: string }>(
    `select seq::text, xid, actor, id::text, stage, job_id as "jobId", from_state as "from", to_state as "to", edited,
       revision, replays
     from observer.letter_change order by letter_change.seq`,
  )
  const changes = await rows<Omit<ReplayTransition, 'id' | 'seq'> & { id: string; seq: string }>(
    `select seq::text, xid, actor, id::text, of_records as "ofRecords", dry_run as "dryRun", total::int,
       from_state as "from", to_state as "to", ordered, ${counts('')}
     from observer.replay_change order by replay_change.seq`,
  )
  const outcomes = await rows<
    Omit<OutcomeTransition, 'replayId' | 'letterId'> & { replayId: string; letterId: string }
  >(
    `select xid, op, replay_id::text as "replayId", dead_letter_id::text as "letterId", outcome
     from observer.outcome_change order by seq`,
  )
  const pauses = await rows<PauseTransition>(
    'select xid, actor, op, scope from observer.pause_change order by seq',
  )
  const actions = await rows<Omit<ActionTransition, 'id'> & { id: string }>(
    `select xid, op, id::text, operator, action, count::int, subject from observer.action_change order by seq`,
  )
  return {
    replays: replays.map((row) => ({ ...row, id: BigInt(row.id) })),
    letterTransitions: letters.map((row) => ({ ...row, seq: BigInt(row.seq), id: BigInt(row.id) })),
    replayTransitions: changes.map((row) => ({ ...row, seq: BigInt(row.seq), id: BigInt(row.id) })),
    outcomeTransitions: outcomes.map((row) => ({
      ...row,
      replayId: BigInt(row.replayId),
      letterId: BigInt(row.letterId),
    })),
    pauseTransitions: pauses,
    actionTransitions: actions.map((row) => ({ ...row, id: BigInt(row.id) })),
  }
}
