import { failpoint } from '../core/failpoint.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Duty } from './duty.ts'

/** Jobs of one statement. */
const BATCH = 1_000
/** Longest sleep, so that a job inserted meanwhile is not late by more than this. */
const MAX_WAIT_MS = 1_000

/** Makes due jobs claimable: `scheduled` and `retryable` ones whose time has come, with a new place in line. */
export const stage: Duty = {
  name: 'stage',
  intervalMs: MAX_WAIT_MS,
  async run({ pool, waker }, signal) {
    for (;;) {
      const { moved, wakes } = await stageBatch(pool)
      if (moved > 0) await failpoint('upkeep:staged')
      waker.wake(wakes)
      if (moved < BATCH || signal.aborted) break
    }
    return untilNextDue(pool)
  },
}

/**
 * The due time is compared with a subquery, for a plain `clock_timestamp()` is volatile and cannot bound an index scan.
 * Rows that somebody has locked are skipped: they are being cancelled or staged.
 */
async function stageBatch(
  pool: Pool,
): Promise<{ moved: number; wakes: { queue: string; place: number }[] }> {
  const { rows } = await pool.query<{ queue: string; place: string; n: number }>(
    `/* millrace:job-stage */ with due as materialized (
       select ctid as at from millrace.job
       where state in ('scheduled', 'retryable') and scheduled_at <= (select clock_timestamp())
       order by scheduled_at limit $1 for update skip locked
     ), moved as (
       update millrace.job set state = 'available', place = nextval('millrace.job_place')
       where ctid = any (array(select at from due))
       returning queue, place
     )
     select queue, min(place)::text as place, count(*)::int as n from moved group by queue`,
    [BATCH],
  )
  return {
    moved: rows.reduce((sum, { n }) => sum + n, 0),
    wakes: rows.map(({ queue, place }) => ({ queue, place: Number(place) })),
  }
}

async function untilNextDue(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ ms: number | null }>(
    `/* millrace:job-next-due */ select
       (extract(epoch from min(scheduled_at) - clock_timestamp()) * 1000)::float8 as ms
     from millrace.job where state in ('scheduled', 'retryable')`,
  )
  const ms = rows[0]?.ms ?? MAX_WAIT_MS
  return Math.min(MAX_WAIT_MS, Math.max(1, Math.ceil(ms)))
}
