import { ensureHistoryDays } from '../jobs/history-days.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction } from '../postgres/transaction.ts'
import type { Duty, DutyParts } from './duty.ts'

const PARENTS = ['job_history', 'job_attempt', 'effect'] as const
/** Rows of one delete. */
const BATCH = 5_000
/**
 * How long to wait for a table's lock. To drop a partition takes the parent for a moment; whoever reads the history
 * for long is not waited for, because everything that finishes jobs would queue up behind us.
 */
const LOCK_MS = 500
/** How long a dead process stays visible after its heartbeat has run out. */
const DEAD_PROCESS_HOURS = 1
/** How long the minutes stay of which the rate of dead letters is made: an hour, and what a slow clock may be behind. */
const RATE_MINUTES = 70

/** Makes the days to come, three ahead, so that a day without a leader does no harm. */
export const ensureDays: Duty = {
  name: 'ensure-days',
  intervalMs: 600_000,
  run: (parts) => ensureHistoryDays(parts),
}

/**
 * Drops the days of history, attempts and effects that are over, and deletes old batches, processes long dead, minutes of the
 * rate, and ids of events whose time is over.
 */
export const prune: Duty = {
  name: 'prune',
  intervalMs: 60_000,
  async run(parts, signal) {
    for (const parent of PARENTS) {
      for (const day of await oldDays(parts, parent)) await dropDay(parts, day)
    }
    await deleteInBatches(parts.pool, signal, BATCHES_SQL, [parts.historyDays, BATCH])
    await deleteInBatches(parts.pool, signal, PROCESSES_SQL, [DEAD_PROCESS_HOURS, BATCH])
    await deleteInBatches(parts.pool, signal, MINUTES_SQL, [RATE_MINUTES, BATCH])
    await deleteInBatches(parts.pool, signal, SEEN_SQL, [BATCH])
  },
}

async function oldDays({ pool, historyDays }: DutyParts, parent: string): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `/* millrace:old-days */ select c.relname as name from pg_catalog.pg_inherits i
     join pg_catalog.pg_class c on c.oid = i.inhrelid
     where i.inhparent = ('millrace.' || $1)::regclass
       and c.relname ~ ('^' || $1 || '_[0-9]{8}$')
       and to_date(right(c.relname, 8), 'YYYYMMDD') < (clock_timestamp() at time zone 'UTC')::date - $2::int
     order by c.relname`,
    [parent, historyDays],
  )
  return rows.map(({ name }) => name)
}

async function dropDay({ core, pool }: DutyParts, day: string): Promise<void> {
  await transaction(pool, core, async (tx) => {
    await tx.query(`/* millrace:lock-timeout */ set local lock_timeout = ${LOCK_MS}`)
    await tx.query(`/* millrace:drop-day */ drop table if exists millrace."${day}"`)
  })
  core.logger.info({ day }, 'a day of history was dropped')
}

/** By physical position: the block-range index finds old batches without an index of its own on the time. */
const BATCHES_SQL = `/* millrace:prune-batches */ delete from millrace.batch where ctid = any (array(
    select ctid from millrace.batch
    where committed_at < (select clock_timestamp()) - $1 * interval '1 day' limit $2))`

/** Only what nothing refers to any more: rescue and owners look at the rows of dead processes. */
const PROCESSES_SQL = `/* millrace:prune-processes */ delete from millrace.process p where p.id = any (array(
    select d.id from millrace.process d
    where d.expires_at < clock_timestamp() - $1 * interval '1 hour'
      and not exists (select from millrace.job j where j.state = 'executing' and j.process_id = d.id)
      and not exists (select from millrace.position o where o.owner = d.id)
    limit $2))
  and p.expires_at < clock_timestamp()`

const MINUTES_SQL = `/* millrace:prune-minutes */ delete from millrace.fingerprint_minute where ctid = any (array(
    select ctid from millrace.fingerprint_minute
    where minute < (select clock_timestamp()) - $1 * interval '1 minute' limit $2))`

/** What a batch is just taking over is locked, and no longer over: it is left to it. */
const SEEN_SQL = `/* millrace:prune-seen */ delete from millrace.seen_event where ctid = any (array(
    select ctid from millrace.seen_event
    where expires_at < (select clock_timestamp()) order by expires_at limit $1 for update skip locked))`

async function deleteInBatches(
  pool: Pool,
  signal: AbortSignal,
  sql: string,
  values: readonly unknown[],
): Promise<void> {
  for (;;) {
    const { rowCount } = await pool.query(sql, [...values])
    if ((rowCount ?? 0) < BATCH || signal.aborted) return
  }
}
