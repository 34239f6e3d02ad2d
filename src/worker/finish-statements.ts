import { METRICS } from '../counts/counts.ts'
import { COUNT_FINISHED } from '../jobs/count-finished.ts'
import { decodeFinished, FINISHED_COLUMNS, type FinishedRow } from '../jobs/finished-row.ts'
import type { FinishedJob } from '../jobs/finished.ts'
import { KEPT_COLUMNS } from '../jobs/history-columns.ts'
import type { QueueWake } from '../jobs/wake.ts'
import { plainArray, textArray, uuidArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { ClaimedJob } from './claimed-job.ts'
import type { CompletedEnd, EndedResult, PutBackResult, Settled } from './result.ts'

// Every statement here is fenced: it names id and token, so one that comes too late changes nothing. A token stands for
// one claim, in which a job occurs once; so it stands for the attempt as well. That the job is executing need not be said:
// a constraint keeps it so that only then it has a token. Nor should it, for the planner, whose statistics know nothing of
// states that last for milliseconds, would take the index of executing jobs for the shortest way.

const COMPLETED_BY_ID = `delete from millrace.job j using unnest($1::uuid[], $2::uuid[]) u(id, token)
  where j.id = u.id and j.token = u.token`

// Two fences for the planner. An array from a subquery has no known length, so the scan by physical position is always
// the cheapest one; with the parameter itself the planner now and then reads by primary key and searches the array for
// every row, at ten times the cost. `is true` keeps the pairs a hashed filter instead of a join.
const COMPLETED_BY_TID = `delete from millrace.job j
  where j.ctid = any (array(select unnest($3::tid[])))
    and ((j.id, j.token) in (select u.id, u.token from unnest($1::uuid[], $2::uuid[]) u(id, token))) is true`

/**
 * Moves completed jobs into the history and returns how many it found. Rows are looked up by where they were when they
 * were claimed; with `byId` by their ids, which also finds those that have moved since.
 */
export async function completeJobs(
  db: Queryable,
  jobs: readonly ClaimedJob[],
  { byId = false }: { readonly byId?: boolean } = {},
): Promise<number> {
  const ids = uuidArray(jobs.map(({ id }) => id))
  const tokens = uuidArray(jobs.map(({ token }) => token))
  const tids = byId ? [] : [textArray(jobs.map(({ tid }) => tid))]
  const { rows } = await db.query<{ n: number }>(
    `/* millrace:job-complete */ with done as (
       ${byId ? COMPLETED_BY_ID : COMPLETED_BY_TID}
       returning j.id, j.kind, j.queue, j.priority, j.attempt, j.max_attempts, j.crashes, j.max_crashes, j.application,
         j.scheduled_at, j.created_at, j.attempted_at, j.process_id, j.token, j.args, j.meta, j.last_error,
         '${METRICS.jobsCompleted}' as metric
     ), kept as (
       insert into millrace.job_history (${KEPT_COLUMNS}, last_error, state, finished_at)
       select ${KEPT_COLUMNS}, last_error, 'completed', n.at from done, (select clock_timestamp() as at) n
     ), ${COUNT_FINISHED}
     select coalesce(sum(n), 0)::int as n from sums`,
    [ids, tokens, ...tids],
  )
  return rows[0]?.n ?? 0
}

/** What {@link putBackJobs} did. */
export interface PutBack {
  /** Which it found, less those that somebody asked to cancel: indices of what was given. */
  readonly found: ReadonlySet<number>
  /** What to wake after the commit. */
  readonly wakes: readonly QueueWake[]
}

/** Puts jobs back into the line, or has them wait for their time, and writes their attempts down. */
export async function putBackJobs(
  db: Queryable,
  settled: readonly Settled<PutBackResult>[],
): Promise<PutBack> {
  const { rows } = await db.query<{ ord: string; queue: string; place: string; state: string }>(
    `/* millrace:job-put-back */ with given as materialized (
       select u.*, clock_timestamp() as now
       from unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::boolean[], $6::boolean[], $7::text[],
         $8::text[], $9::uuid[])
         with ordinality u(id, token, state, wait_ms, charged, cleared, outcome, error, process_id, ord)
     ), moved as (
       update millrace.job j
       set state = g.state, scheduled_at = case when g.state = 'available' then j.scheduled_at
             else g.now + g.wait_ms * interval '1 millisecond' end,
         attempt = j.attempt - case when g.charged then 0 else 1 end, suspect = j.suspect and not g.cleared,
         last_error = coalesce(g.error::json, j.last_error),
         token = null, process_id = null, started_at = null
       from given g
       where j.id = g.id and j.token = g.token and not j.cancel_asked
       returning j.id, j.queue, j.place, j.state, j.attempt + case when g.charged then 0 else 1 end as attempt,
         j.attempted_at, g.ord, g.token, g.process_id, g.outcome, g.error, g.now
     ), noted as (
       insert into millrace.job_attempt (job_id, attempt, token, process_id, outcome, error, attempted_at, finished_at)
       select id, attempt, token, process_id, outcome, error::json, attempted_at, now from moved
       where outcome is not null
     ), counted as (
       insert into millrace.count_delta (metric, label, delta)
       select '${METRICS.attemptsFailed}', queue, count(*) from moved
       where outcome in ('failed', 'timed_out') group by queue
     )
     select ord, queue, place, state from moved`,
    [
      plainArray(settled.map(({ job }) => job.id)),
      plainArray(settled.map(({ job }) => job.token)),
      plainArray(settled.map(({ result }) => result.state)),
      plainArray(settled.map(({ result }) => result.waitMs)),
      plainArray(settled.map(({ result }) => String(result.charged))),
      plainArray(settled.map(({ result }) => String(result.cleared))),
      textArray(settled.map(({ result }) => result.outcome)),
      textArray(settled.map(({ result }) => result.errorJson)),
      plainArray(settled.map(({ job }) => job.processId)),
    ],
  )
  const places = new Map<string, number>()
  for (const { queue, place, state } of rows) {
    if (state !== 'available') continue
    places.set(queue, Math.min(places.get(queue) ?? Number.POSITIVE_INFINITY, Number(place)))
  }
  return {
    found: new Set(rows.map(({ ord }) => Number(ord) - 1)),
    wakes: [...places].map(([queue, place]) => ({ queue, place })),
  }
}

/** Moves cancelled and discarded jobs, or completed ones, into the history, and gives what became final. */
export async function endJobs(
  db: Queryable,
  settled: readonly Settled<EndedResult | CompletedEnd>[],
): Promise<FinishedJob[]> {
  const { rows } = await db.query<FinishedRow>(
    `/* millrace:job-end */ with done as (
       delete from millrace.job j
       using unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
         u(id, token, state, outcome, error, reason)
       where j.id = u.id and j.token = u.token
       returning j.*, u.state as final, u.outcome, u.error, u.reason, 'jobs.' || u.state as metric
     ), kept as (
       insert into millrace.job_history (${KEPT_COLUMNS}, last_error, state, reason, finished_at)
       select ${KEPT_COLUMNS}, coalesce(error::json, last_error), final, reason, n.at
       from done, (select clock_timestamp() as at) n
     ), noted as (
       insert into millrace.job_attempt (job_id, attempt, token, process_id, outcome, error, attempted_at)
       select id, attempt, token, process_id, outcome, error::json, attempted_at from done where outcome is not null
     ), failed as (
       insert into millrace.count_delta (metric, label, delta)
       select '${METRICS.attemptsFailed}', queue, count(*) from done
       where outcome in ('failed', 'timed_out') group by queue
     ), ${COUNT_FINISHED}
     select ${FINISHED_COLUMNS} from done`,
    [
      plainArray(settled.map(({ job }) => job.id)),
      plainArray(settled.map(({ job }) => job.token)),
      plainArray(settled.map(({ result }) => result.state)),
      textArray(settled.map(({ result }) => result.outcome)),
      textArray(settled.map(({ result }) => result.errorJson)),
      textArray(settled.map(({ result }) => result.reason)),
    ],
  )
  return rows.map(decodeFinished)
}
