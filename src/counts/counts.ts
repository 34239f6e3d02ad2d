import type { Queryable } from '../postgres/queryable.ts'

/**
 * What is counted. Each metric has a label: the application, the queue, or '' for the whole.
 * `records.*` are dispositions per record and handler.
 */
export const METRICS = {
  recordsDone: 'records.done',
  recordsJobs: 'records.jobs',
  recordsFiltered: 'records.filtered',
  recordsDeadLettered: 'records.dead-lettered',
  /** Label: queue. Jobs not yet finished. */
  jobsUnfinished: 'jobs.unfinished',
  /** Label: application. Jobs not yet finished that its bridge made: its backlog. */
  backlog: 'backlog',
  /** Label: queue. */
  jobsInserted: 'jobs.inserted',
  jobsCompleted: 'jobs.completed',
  jobsCancelled: 'jobs.cancelled',
  jobsDiscarded: 'jobs.discarded',
  attemptsFailed: 'attempts.failed',
  deadLetters: 'dead-letters',
  /** Label: application. What became of dead letters and past records in replays that were no dry runs. */
  replayPassed: 'replay.passed',
  replayFailed: 'replay.failed',
  replaySkipped: 'replay.skipped',
  /** Label: topic. Events published by millrace on the table log, or through the outbox. */
  eventsPublished: 'events.published',
  /** Records in the outbox of which it is not known that they are in the log. */
  outboxWaiting: 'outbox.waiting',
} as const

/** One of {@link METRICS}. */
export type Metric = (typeof METRICS)[keyof typeof METRICS]

/** A change of one count. */
export interface CountChange {
  readonly metric: Metric
  readonly label: string
  readonly delta: number
}

/** A count as it is now. */
export interface Count {
  readonly metric: string
  readonly label: string
  readonly value: number
}

/** Notes changes, in the transaction of `db` if it is in one. Changes of 0 are left out. */
export async function addCounts(db: Queryable, changes: readonly CountChange[]): Promise<void> {
  const real = changes.filter(({ delta }) => delta !== 0)
  if (real.length === 0) return
  await db.query(
    `/* millrace:count-add */ insert into millrace.count_delta (metric, label, delta)
     select * from unnest($1::text[], $2::text[], $3::bigint[])`,
    [real.map((c) => c.metric), real.map((c) => c.label), real.map((c) => c.delta)],
  )
}

/** The counts of `metrics`, or all: what was folded and what was not yet, at one instant. */
export async function readCounts(db: Queryable, metrics?: readonly Metric[]): Promise<Count[]> {
  const { rows } = await db.query<{ metric: string; label: string; value: string }>(
    `/* millrace:count-read */ select metric, label, sum(value)::text as value from (
       select metric, label, value from millrace.count where $1::text[] is null or metric = any ($1)
       union all
       select metric, label, delta from millrace.count_delta where $1::text[] is null or metric = any ($1)
     ) c group by metric, label order by metric, label`,
    [metrics ?? null],
  )
  return rows.map(({ metric, label, value }) => ({ metric, label, value: Number(value) }))
}

/** Most changes that one {@link foldCounts} takes. */
export const MAX_FOLD = 50_000

/**
 * Folds what writers appended into one row per count, at most {@link MAX_FOLD} changes, and returns how many it took.
 * Several may fold at once: each delta is taken by one of them.
 */
export async function foldCounts(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ n: number }>(
    `/* millrace:count-fold */ with taken as (
       delete from millrace.count_delta where ctid in (
         select ctid from millrace.count_delta limit ${MAX_FOLD} for update skip locked)
       returning metric, label, delta
     ), folded as (
       insert into millrace.count as c (metric, label, value)
       select metric, label, sum(delta) from taken group by metric, label order by metric, label
       on conflict (metric, label) do update set value = c.value + excluded.value
     )
     select count(*)::int as n from taken`,
  )
  return rows[0]?.n ?? 0
}
