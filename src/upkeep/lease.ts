import type { Pool } from '../postgres/pool.ts'

/** Which process leads, for how long. */
export interface Lease {
  /** Grows with every holder. */
  readonly term: number
}

const NAME = 'upkeep'

/**
 * Takes the lease of upkeep for `ttlMs`, or renews it. `undefined`: another live process holds it. By database time; a
 * holder whose process is dead has lost it.
 *
 * The lease only saves work: a leader that was stopped for an hour and goes on where it was does no harm, for every
 * statement of upkeep names the state it expects.
 */
export async function takeLease(
  pool: Pool,
  processId: string,
  ttlMs: number,
): Promise<Lease | undefined> {
  const { rows } = await pool.query<{ term: string }>(
    `/* millrace:lease-take */ insert into millrace.lease as l (name, holder, term, expires_at)
     values ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
     on conflict (name) do update
     set holder = excluded.holder, expires_at = excluded.expires_at,
       term = l.term + case when l.holder is not distinct from excluded.holder then 0 else 1 end
     where l.holder is not distinct from excluded.holder or l.expires_at <= clock_timestamp()
       or not exists (select from millrace.process p
         where p.id = l.holder and p.expires_at > clock_timestamp())
     returning term`,
    [NAME, processId, ttlMs],
  )
  return rows[0] === undefined ? undefined : { term: Number(rows[0].term) }
}

/** Gives the lease back, if it is still ours, so that another process need not wait for it to run out. */
export async function releaseLease(pool: Pool, processId: string): Promise<void> {
  await pool.query(
    `/* millrace:lease-release */ update millrace.lease set expires_at = '-infinity'
     where name = $1 and holder = $2`,
    [NAME, processId],
  )
}
