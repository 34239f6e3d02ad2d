import { noteAction } from '../control/operator-action.ts'
import type { Core } from '../core/core.ts'
import { METRICS } from '../counts/counts.ts'
import { plainArray } from '../postgres/array.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { Transaction } from '../postgres/transaction.ts'
import type { JobOrder, OrderResult } from './cancel.ts'
import { keptColumns } from './history-columns.ts'
import { orderTransaction } from './order-transaction.ts'
import type { JobState } from './state.ts'
import type { JobWaker } from './wake.ts'

/** What {@link retryJobs} works with. */
export interface RetryParts {
  readonly core: Core
  readonly pool: Pool
  readonly waker: JobWaker
  /** Told of the jobs that come back, in the same transaction. */
  readonly onRetried?: (tx: Queryable, ids: readonly string[]) => Promise<void>
}

/**
 * Makes jobs claimable again, now: discarded and cancelled ones come back from the history, scheduled and retryable ones
 * need not wait for their time. Attempts made stay counted, with at least one more allowed; crashes are forgotten, since
 * somebody has looked at them.
 *
 * Refused: `completed`, for its effects have happened (insert a new job to have them again); `available` and `executing`,
 * for there is nothing to do; `suspended`.
 * @param order who orders it, for the audit. Default: nobody is written down.
 */
export async function retryJobs(
  { core, pool, waker, onRetried }: RetryParts,
  ids: readonly string[],
  order?: JobOrder,
): Promise<OrderResult> {
  if (ids.length === 0) return { changed: [], asked: [], refused: [] }
  return orderTransaction({ core, pool }, async (tx) => {
    const changed = await retryJobsIn(tx, waker, ids)
    await onRetried?.(tx, [...changed])
    if (order !== undefined && changed.size > 0)
      await noteAction(tx, { ...order, action: 'jobs.retry', count: changed.size })
    const rest = ids.filter((id) => !changed.has(id))
    const { rows: known } = await tx.query<{ id: string; state: JobState }>(
      `/* millrace:job-states */ select id, state from millrace.job where id = any ($1::uuid[])
       union all select id, state from millrace.job_history where id = any ($1::uuid[])`,
      [plainArray(rest)],
    )
    const states = new Map(known.map(({ id, state }) => [id, state]))
    return {
      changed: [...changed],
      asked: [],
      refused: rest.map((id) => ({ id, state: states.get(id) ?? null })),
    }
  })
}

/**
 * As {@link retryJobs}, in the transaction that is given, and without a word about the others; its workers are woken after
 * the commit. Gives the ids of those that came back.
 */
export async function retryJobsIn(
  tx: Transaction,
  waker: Pick<JobWaker, 'wake'>,
  ids: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows } = await tx.query<{ id: string; queue: string; place: string }>(RETRY_SQL, [
    plainArray(ids),
  ])
  tx.afterCommit(() => {
    waker.wake(rows.map(({ queue, place }) => ({ queue, place: Number(place) })))
  })
  return new Set(rows.map(({ id }) => id))
}

/** What comes back as it was. */
const BACK = keptColumns({
  scheduled_at: null,
  attempted_at: null,
  process_id: null,
  token: null,
  crashes: null,
  max_attempts: null,
})

const RETRY_SQL = `/* millrace:job-retry */ with taken as (
    delete from millrace.job_history
    where id = any ($1::uuid[]) and state in ('cancelled', 'discarded')
    returning *
  ), back as (
    insert into millrace.job (${BACK}, attempted_at, max_attempts, last_error, state)
    select ${BACK}, attempted_at, greatest(max_attempts, least(attempt + 1, 32767)), last_error, 'available' from taken
    returning id, queue, place, application
  ), sooner as (
    update millrace.job
    set state = 'available', place = nextval('millrace.job_place'), scheduled_at = clock_timestamp(),
      max_attempts = greatest(max_attempts, least(attempt + 1, 32767)), crashes = 0, suspect = false
    where id = any ($1::uuid[]) and state in ('scheduled', 'retryable')
    returning id, queue, place
  ), sums as (
    select queue, application, count(*) as n from back group by queue, application
  ), counted as (
    insert into millrace.count_delta (metric, label, delta)
    select '${METRICS.jobsUnfinished}', queue, n from sums
    union all select '${METRICS.backlog}', application, n from sums where application is not null
  )
  select id, queue, place from back union all select id, queue, place from sooner`
