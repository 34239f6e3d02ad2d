import { failpoint } from '../core/failpoint.ts'
import { describeError } from '../errors/describe.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { COUNT_FINISHED } from '../jobs/count-finished.ts'
import { decodeFinished, FINISHED_COLUMNS, type FinishedRow } from '../jobs/finished-row.ts'
import { KEPT_COLUMNS, keptColumns } from '../jobs/history-columns.ts'
import { withHistoryDays } from '../jobs/history-days.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction } from '../postgres/transaction.ts'
import { LIVE_PROCESSES_SQL } from '../process/heartbeat.ts'
import type { Duty, DutyParts } from './duty.ts'

/** Jobs of one transaction. */
const BATCH = 500

/**
 * Takes back what dead processes held. By liveness, never by age: a job of a living process is left alone however long it
 * takes, and a dead process never comes back under its id.
 *
 * Which of its jobs killed it, nobody knows, so all become suspects and none is charged, each with a lost attempt; they are
 * then executed one at a time with a start mark. One that bears the mark was the one that ran: it is charged, and discarded
 * when it has done that as often as it may.
 */
export const rescue: Duty = {
  name: 'rescue',
  intervalMs: 1_000,
  async run(parts, signal) {
    for (const processId of await deadHolders(parts.pool)) {
      // Until a batch is not full. Locked rows are skipped: their transaction is about to end, and the next turn sees.
      for (;;) {
        const rescued = await withHistoryDays(parts, () => rescueBatch(parts, processId))
        if (rescued < BATCH || signal.aborted) break
      }
    }
  },
}

/** Dead processes that hold jobs: a loose scan of the index, one step per process, not per job. */
async function deadHolders(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `/* millrace:job-dead-holders */ with recursive holder(id) as (
       (select process_id from millrace.job where state = 'executing' order by process_id limit 1)
       union all
       select (select j.process_id from millrace.job j
         where j.state = 'executing' and j.process_id > holder.id order by j.process_id limit 1)
       from holder where holder.id is not null
     )
     select id from holder where id is not null and id not in (${LIVE_PROCESSES_SQL})`,
  )
  return rows.map(({ id }) => id)
}

async function rescueBatch(parts: DutyParts, processId: string): Promise<number> {
  const { core, pool, waker, hooks } = parts
  const error = new MillraceError('E_JOB_CRASHED', 'the process ended while this job was running')
  const lost = new MillraceError('E_JOB_CRASHED', 'the process ended while it held this job')
  return transaction(pool, core, async (tx) => {
    const { rows } = await tx.query<FinishedRow & { place: string }>(SQL, [
      processId,
      BATCH,
      JSON.stringify(describeError(error)),
      JSON.stringify(describeError(lost)),
    ])
    const ended = rows.filter(({ final }) => (final as string) !== 'available').map(decodeFinished)
    if (ended.length > 0) await hooks.onFinished?.(tx, ended)
    const places = new Map<string, number>()
    for (const { final, queue, place } of rows) {
      if ((final as string) !== 'available') continue
      places.set(queue, Math.min(places.get(queue) ?? Number.POSITIVE_INFINITY, Number(place)))
    }
    tx.afterCommit(() => {
      waker.wake([...places].map(([queue, place]) => ({ queue, place })))
    })
    if (rows.length > 0) {
      core.logger.warn(
        { processId, jobs: rows.length, ended: ended.length },
        'jobs of a process that died were taken back',
      )
      await failpoint('upkeep:rescued')
    }
    return rows.length
  })
}

/**
 * `fate` locks the rows and decides; `final` is what a job becomes. PostgreSQL looks at process and state again once it has
 * the lock, so a job that was finished a moment ago is not among them, and one that somebody just asked to cancel is seen
 * as such.
 */
const SQL = `/* millrace:job-rescue */ with fate as materialized (
    select j.id, j.attempt, j.token, j.process_id, j.attempted_at, j.started_at is not null as charged,
      case when j.cancel_asked then 'cancelled'
        when j.started_at is not null
          and (j.crashes + 1 >= j.max_crashes or j.attempt >= j.max_attempts) then 'discarded'
        else 'available' end as final
    from millrace.job j
    where j.state = 'executing' and j.process_id = $1 and j.process_id not in (${LIVE_PROCESSES_SQL})
    limit $2 for update of j skip locked
  ), noted as (
    insert into millrace.job_attempt (job_id, attempt, token, process_id, outcome, error, attempted_at)
    select id, attempt, token, process_id, case when charged then 'crashed' else 'lost' end,
      case when charged then $3::json else $4::json end, attempted_at
    from fate
  ), returned as (
    update millrace.job j
    set state = 'available', place = nextval('millrace.job_place'), suspect = true,
      attempt = j.attempt - case when f.charged then 0 else 1 end,
      crashes = j.crashes + case when f.charged then 1 else 0 end,
      last_error = case when f.charged then $3::json else j.last_error end,
      token = null, process_id = null, started_at = null
    from fate f where j.id = f.id and f.final = 'available'
    returning j.*, f.final, null::text as error, null::text as reason
  ), done as (
    delete from millrace.job j using fate f where j.id = f.id and f.final <> 'available'
    returning j.*, f.final, f.charged, case when f.charged then $3::text end as error,
      case when f.final = 'cancelled' then 'cancelled by an operator' end as reason, 'jobs.' || f.final as metric
  ), kept as (
    insert into millrace.job_history (${KEPT_COLUMNS}, last_error, state, reason, finished_at)
    -- Without the token: it names who ended the job, and the last holder's result, should it still come, is a late one.
    select ${keptColumns({ token: 'null::uuid', crashes: 'crashes + case when charged then 1 else 0 end' })},
      coalesce(error::json, last_error), final, reason, clock_timestamp()
    from done
  ), ${COUNT_FINISHED}
  select ${FINISHED_COLUMNS}, place from returned
  union all select ${FINISHED_COLUMNS}, place from done`
