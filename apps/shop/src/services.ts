import type { Pool } from 'pg'
import { COMMISSIONS_SCHEMA } from './commissions/schema.ts'
import { MAIL_SCHEMA } from './mail/schema.ts'
import { ORDERS_SCHEMA } from './orders/schema.ts'
import { TILLS_SCHEMA } from './tills/schema.ts'

/** Each service owns its tables, and none reads another's. */
const SCHEMAS: Readonly<Record<string, string>> = {
  shop_tills: TILLS_SCHEMA,
  shop_orders: ORDERS_SCHEMA,
  shop_commissions: COMMISSIONS_SCHEMA,
  shop_mail: MAIL_SCHEMA,
}
/** What the shop has in a database of its own. */
const OWNED: readonly string[] = ['millrace', ...Object.keys(SCHEMAS)]
/** Two shops that begin at once make the tables one after the other: the first key is "shop". */
const LOCK = [1_936_224_112, 1] as const

/** Makes the tables of all services, those that are missing. */
export async function migrateServices(pool: Pool): Promise<void> {
  await inLockedTransaction(pool, async (run) => {
    for (const sql of Object.values(SCHEMAS)) await run(sql)
  })
}

/** Names of the schemas that a reset would drop. */
export async function schemasToDrop(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `/* shop:schemas */ select nspname as name from pg_catalog.pg_namespace
     where nspname = any ($1::text[]) order by nspname`,
    [OWNED],
  )
  return rows.map(({ name }) => name)
}

/** Drops these schemas, all or none. */
export async function dropSchemas(pool: Pool, names: readonly string[]): Promise<void> {
  await inLockedTransaction(pool, async (run) => {
    for (const name of names.filter((one) => OWNED.includes(one))) {
      await run(`drop schema if exists ${name} cascade`)
    }
  })
}

/** Names of the processes that live on this database just now. */
export async function livingProcesses(pool: Pool): Promise<string[]> {
  const { rows: found } = await pool.query<{ there: boolean }>(
    `/* shop:processes-there */ select to_regclass('millrace.process') is not null as there`,
  )
  if (found[0]?.there !== true) return []
  const { rows } = await pool.query<{ name: string }>(
    '/* shop:processes */ select name from millrace.process where expires_at > clock_timestamp()',
  )
  return rows.map(({ name }) => name)
}

async function inLockedTransaction(
  pool: Pool,
  action: (run: (sql: string) => Promise<unknown>) => Promise<void>,
): Promise<void> {
  const client = await pool.connect()
  let failure: Error | undefined
  try {
    await client.query('/* shop:begin */ begin')
    await client.query('/* shop:lock */ select pg_advisory_xact_lock($1, $2)', [...LOCK])
    await action((sql) => client.query(sql))
    await client.query('/* shop:commit */ commit')
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
    throw error
  } finally {
    // A failed session is thrown away, and its transaction with it.
    client.release(failure)
  }
}
