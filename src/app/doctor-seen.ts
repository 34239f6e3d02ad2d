import type { Pool } from '../postgres/pool.ts'
import type { Check } from './check.ts'

/** Upkeep forgets events within a minute of their time; this long after it, nobody does. */
const OVERDUE_MS = 3_600_000

interface Seen extends Record<string, unknown> {
  readonly some: boolean
  readonly bytes: number
  readonly about: number
  readonly overdue_ms: number
}

/** What handlers that handle an event once have to remember, and whether it is ever forgotten. Nothing where none does. */
export async function checkSeenEvents(pool: Pool): Promise<Check[]> {
  const base = { id: 'seen-events', title: 'remembered events' }
  const { rows } = await pool.query<Seen>(
    `/* millrace:doctor-seen */ select exists (select from millrace.seen_event) as some,
       pg_total_relation_size('millrace.seen_event')::float8 as bytes,
       greatest(0, (select reltuples from pg_catalog.pg_class where oid = 'millrace.seen_event'::regclass))::float8 as about,
       coalesce(extract(epoch from clock_timestamp() - (select min(expires_at) from millrace.seen_event)) * 1000, 0)::float8
         as overdue_ms`,
  )
  const { some, bytes, about, overdue_ms: overdueMs } = rows[0] as Seen
  if (!some) return []
  const found = `${about === 0 ? 'some' : `about ${Math.round(about).toLocaleString('en')}`}, in ${Math.ceil(bytes / 1_048_576).toLocaleString('en')} MiB`
  if (overdueMs <= OVERDUE_MS) return [{ ...base, state: 'ok', found }]
  return [
    {
      ...base,
      state: 'warning',
      found: `${found}; the time of the oldest was over ${Math.round(overdueMs / 3_600_000)} h ago`,
      fix: 'Start at least one process without upkeep: false: it forgets them.',
    },
  ]
}
