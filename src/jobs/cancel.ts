import { noteAction, type OrderedBy } from '../control/operator-action.ts'
import type { Core } from '../core/core.ts'
import { METRICS } from '../counts/counts.ts'
import { plainArray } from '../postgres/array.ts'
import { wake } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import { COUNT_FINISHED } from './count-finished.ts'
import { decodeFinished, FINISHED_COLUMNS, type FinishedRow } from './finished-row.ts'
import type { FinishHooks } from './finished.ts'
import { KEPT_COLUMNS } from './history-columns.ts'
import { orderTransaction } from './order-transaction.ts'
import type { JobState } from './state.ts'

/** Who orders something about jobs, and which jobs were asked for. */
export interface JobOrder extends OrderedBy {
  readonly filter: unknown
}

/** What became of each job that an operator's order named. */
export interface OrderResult {
  /** Ids of jobs that it was done to. */
  readonly changed: readonly string[]
  /** Ids of executing jobs whose worker was asked; they are cancelled once their handlers end. Only when cancelling. */
  readonly asked: readonly string[]
  /** Jobs that are in a state in which it cannot be done, and ids that do not exist (state `null`). */
  readonly refused: readonly { readonly id: string; readonly state: JobState | null }[]
}

/** A wake-up holds at most 8,000 bytes; an id and its comma take 37. */
const IDS_PER_WAKE = 200

/**
 * Cancels jobs. Those that wait are moved to the history at once, and `onFinished` is told in the same transaction. Those
 * that are executed have their signals aborted with a `CancelReason`; a handler that completes nevertheless has completed.
 * Finished jobs are left as they are.
 * @param order who orders it, for the audit. Default: nobody is written down.
 */
export async function cancelJobs(
  {
    core,
    pool,
    hooks = {},
  }: { readonly core: Core; readonly pool: Pool; readonly hooks?: FinishHooks },
  ids: readonly string[],
  order?: JobOrder,
): Promise<OrderResult> {
  if (ids.length === 0) return { changed: [], asked: [], refused: [] }
  const result = await orderTransaction({ core, pool }, async (tx) => {
    // In the order of ids, so that two operators who cancel the same jobs do not wait for each other in a circle.
    const { rows: locked } = await tx.query<{ id: string; executing: boolean }>(
      `/* millrace:job-cancel-lock */ select id, state = 'executing' as executing from millrace.job
       where id = any ($1::uuid[]) order by id for update`,
      [plainArray(ids)],
    )
    const asked = locked.filter(({ executing }) => executing).map(({ id }) => id)
    const waiting = locked.filter(({ executing }) => !executing).map(({ id }) => id)
    if (asked.length > 0) {
      await tx.query(
        '/* millrace:job-cancel-ask */ update millrace.job set cancel_asked = true where id = any ($1::uuid[])',
        [plainArray(asked)],
      )
    }
    if (waiting.length > 0) {
      const { rows } = await tx.query<FinishedRow>(CANCEL_SQL, [plainArray(waiting)])
      await hooks.onFinished?.(tx, rows.map(decodeFinished))
    }
    if (order !== undefined && locked.length > 0)
      await noteAction(tx, { ...order, action: 'jobs.cancel', count: locked.length })
    const found = new Set(locked.map(({ id }) => id))
    const missing = ids.filter((id) => !found.has(id))
    const { rows: finished } = await tx.query<{ id: string; state: JobState }>(
      '/* millrace:job-finished-states */ select id, state from millrace.job_history where id = any ($1::uuid[])',
      [plainArray(missing)],
    )
    const states = new Map(finished.map(({ id, state }) => [id, state]))
    const refused = missing.map((id) => ({ id, state: states.get(id) ?? null }))
    return { changed: waiting, asked, refused }
  })
  for (let at = 0; at < result.asked.length; at += IDS_PER_WAKE) {
    await wake(pool, 'cancel', result.asked.slice(at, at + IDS_PER_WAKE).join(','))
  }
  return result
}

const CANCEL_SQL = `/* millrace:job-cancel */ with done as (
    delete from millrace.job where id = any ($1::uuid[]) and state <> 'executing'
    returning *, 'cancelled' as final, null::text as error, 'cancelled by an operator' as reason,
      '${METRICS.jobsCancelled}' as metric
  ), kept as (
    insert into millrace.job_history (${KEPT_COLUMNS}, last_error, state, reason, finished_at)
    select ${KEPT_COLUMNS}, last_error, final, reason, clock_timestamp() from done
  ), ${COUNT_FINISHED}
  select ${FINISHED_COLUMNS} from done`
