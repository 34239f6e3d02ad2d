import { plainArray } from '../postgres/array.ts'
import type { Pool } from '../postgres/pool.ts'
import type { QueueWake } from '../jobs/wake.ts'
import type { HeldClaims } from './held.ts'

/** What {@link handBackLostClaims} found. */
export interface LostClaims {
  readonly wakes: readonly QueueWake[]
  /** Ids of those that somebody asked to cancel: they wait now, and are to be cancelled as such. */
  readonly cancelAsked: readonly string[]
}

/**
 * Hands back jobs that the database says this process claimed, and that it does not hold: the reply to their claim was
 * lost.
 *
 * Which tokens are held is asked after the database has answered, not before. A claim made meanwhile has been noted in
 * `held` before it was sent, so its jobs are not taken for lost; one that was finished meanwhile has no row any more, and
 * the second statement names token and state.
 */
export async function handBackLostClaims(
  pool: Pool,
  processId: string,
  held: HeldClaims,
): Promise<LostClaims> {
  const { rows: claims } = await pool.query<{ token: string }>(
    `/* millrace:job-claims */ select distinct token from millrace.job
     where process_id = $1 and state = 'executing'`,
    [processId],
  )
  const lost = claims.map(({ token }) => token).filter((token) => !held.has(token))
  if (lost.length === 0) return { wakes: [], cancelAsked: [] }
  const { rows } = await pool.query<{ id: string; queue: string; place: string; asked: boolean }>(
    `/* millrace:job-lost-claims */ update millrace.job
     set state = 'available', attempt = attempt - 1, token = null, process_id = null, started_at = null
     where process_id = $1 and state = 'executing' and token = any ($2::uuid[])
     returning id, queue, place, cancel_asked as asked`,
    [processId, plainArray(lost)],
  )
  const places = new Map<string, number>()
  for (const { queue, place } of rows) {
    places.set(queue, Math.min(places.get(queue) ?? Number.POSITIVE_INFINITY, Number(place)))
  }
  return {
    wakes: [...places].map(([queue, place]) => ({ queue, place })),
    cancelAsked: rows.filter(({ asked }) => asked).map(({ id }) => id),
  }
}
