import type { Queryable } from '../postgres/queryable.ts'

/** News for whoever is told from `a.since` on, of `f`. Dead letters that are older than fingerprints have none. */
export const UNTOLD = `f.told_at is null and f.first_seen_at >= a.since and f.fingerprint <> '' and f.dead_lettered > 0`

/** A partition that the flood brake has stopped: news as well, until somebody has decided about it. */
export const UNTOLD_FLOOD = `g.code = 'flood' and g.decision is null and g.found_at >= a.since
  and g.evidence ->> 'toldAt' is null`

/** How the telling goes. */
export interface AlertState {
  /** Fingerprints and stopped partitions that nobody has been told of; at most 10,000 fingerprints are counted. */
  readonly waiting: number
  /** Attempts since the last that was taken. */
  readonly attempts: number
  /** Why the last one was not taken. Null: it was, or is under way. */
  readonly trouble: string | null
  /** Null: nothing was told yet. */
  readonly lastToldAt: Date | null
}

/** How the telling goes; `undefined`: nobody was ever asked to tell. */
export async function alertState(db: Queryable): Promise<AlertState | undefined> {
  const { rows } = await db.query<AlertState & Record<string, unknown>>(
    `/* millrace:alert-state */ select a.attempts, a.trouble, a.last_told_at as "lastToldAt",
       (select count(*)::integer from (select from millrace.fingerprint f where ${UNTOLD} limit 10000) w)
         + (select count(*)::integer from millrace.gap g where ${UNTOLD_FLOOD}) as waiting
     from millrace.alert_delivery a`,
  )
  return rows[0]
}
