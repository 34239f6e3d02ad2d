import { plainArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { ClaimedJob } from './claimed-job.ts'

/**
 * Why a fenced statement did not find a job:
 * `ours`: an earlier try of the same statement got through, only its reply was lost;
 * `held`: the attempt goes on, the row has merely been changed, as by somebody who asks to cancel it;
 * `late`: the job was taken back.
 */
export type Absence = 'ours' | 'held' | 'late'

/** Finds out for each of `jobs`. One snapshot for all, so a row cannot be missed while it moves. */
export async function whyAbsent(
  db: Queryable,
  jobs: readonly ClaimedJob[],
): Promise<ReadonlyMap<ClaimedJob, Absence>> {
  const { rows } = await db.query<{ ord: string; absence: Absence }>(
    `/* millrace:job-absent */ select u.ord, case
         when exists (select from millrace.job j
           where j.id = u.id and j.token = u.token) then 'held'
         when exists (select from millrace.job_history h where h.id = u.id and h.token = u.token) then 'ours'
         when exists (select from millrace.job_attempt a
           where a.job_id = u.id and a.token = u.token and a.outcome in ('failed', 'timed_out', 'interrupted')) then 'ours'
         else 'late' end as absence
     from unnest($1::uuid[], $2::uuid[]) with ordinality u(id, token, ord)`,
    [plainArray(jobs.map(({ id }) => id)), plainArray(jobs.map(({ token }) => token))],
  )
  return new Map(rows.map(({ ord, absence }) => [jobs[Number(ord) - 1] as ClaimedJob, absence]))
}

/** Writes down that results came too late and changed nothing. Once per attempt. Gives those that were not known. */
export async function recordLate(
  db: Queryable,
  jobs: readonly ClaimedJob[],
): Promise<readonly ClaimedJob[]> {
  if (jobs.length === 0) return []
  const { rows } = await db.query<{ job_id: string; token: string }>(
    `/* millrace:job-late */ insert into millrace.job_attempt (job_id, attempt, token, process_id, outcome)
     select u.id, u.attempt, u.token, u.process_id, 'late'
     from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::uuid[]) u(id, attempt, token, process_id)
     where not exists (select from millrace.job_attempt a
       where a.job_id = u.id and a.token = u.token and a.outcome = 'late')
     returning job_id, token`,
    [
      plainArray(jobs.map(({ id }) => id)),
      plainArray(jobs.map(({ attempt }) => attempt)),
      plainArray(jobs.map(({ token }) => token)),
      plainArray(jobs.map(({ processId }) => processId)),
    ],
  )
  const fresh = new Set(rows.map(({ job_id: id, token }) => `${id}/${token}`))
  return jobs.filter(({ id, token }) => fresh.has(`${id}/${token}`))
}
