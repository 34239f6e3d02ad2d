import type { Core } from '../core/core.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** What names this outbox in the log, and what tells its database from copies of it. */
export interface OutboxIdentity {
  /** A UUID, made once; it goes along into dumps and copies, which therefore meet the cursors of their original. */
  readonly id: string
  /** Of the server and the database: another one after a restore into another database, after `pg_upgrade`, in a copy. */
  readonly database: string
}

/** The identity of the outbox in this database; made at the first call. */
export async function outboxIdentity(db: Queryable, core: Core): Promise<OutboxIdentity> {
  await db.query(
    `/* millrace:outbox-identity-make */ insert into millrace.outbox_identity (id) values ($1) on conflict do nothing`,
    [core.ids.uuid()],
  )
  const { rows } = await db.query<{ id: string; oid: string }>(
    `/* millrace:outbox-identity */ select i.id, d.oid::text from millrace.outbox_identity i
     join pg_catalog.pg_database d on d.datname = current_database()`,
  )
  const { id, oid } = rows[0] as { id: string; oid: string }
  return { id, database: `${await serverIdentity(db)}/${oid}` }
}

async function serverIdentity(db: Queryable): Promise<string> {
  try {
    const { rows } = await db.query<{ id: string }>(
      `/* millrace:outbox-server */ select system_identifier::text as id from pg_catalog.pg_control_system()`,
    )
    return rows[0]?.id ?? ''
  } catch (error) {
    // Somebody took the right to ask away: then only the number of the database tells copies apart.
    if ((error as { code?: unknown }).code === '42501') return ''
    throw error
  }
}
