import type { Pool } from 'pg'

/** Where events are. */
export type LogKind = 'Postgres' | 'Kafka'

/**
 * Remembers in which log this shop began. In another one its positions mean nothing: every partition would be stopped, and
 * the tills would go on without anybody to read what they write.
 * @throws when it began in the other one, with what to do.
 */
export async function stayWithLog(pool: Pool, log: LogKind): Promise<void> {
  const { rows } = await pool.query<{ kind: LogKind }>(
    `/* shop:log */ insert into shop_tills.log as l (kind) values ($1)
     on conflict (single) do update set kind = l.kind returning kind`,
    [log],
  )
  const began = rows[0]?.kind ?? log
  if (began === log) return
  const back = began === 'Kafka' ? 'go on with --kafka <host:port>' : 'go on without --kafka'
  throw new Error(
    `this shop began with its events in ${began}, and its place there means nothing in ${log}. Either ${back}, or begin anew with --reset.`,
  )
}
