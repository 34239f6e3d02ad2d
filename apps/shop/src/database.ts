import { setTimeout as sleep } from 'node:timers/promises'
import { checkConnection, createPool } from 'millrace/postgres'
import { embeddedPostgres, type EmbeddedPostgres } from 'millrace/testing'
import type { Pool } from 'pg'
import { shortPath, type Home } from './home.ts'
import type { ShopOptions } from './options.ts'
import { dropSchemas, livingProcesses, schemasToDrop } from './services.ts'

/** The database that the shop works with. */
export interface Database {
  readonly pool: Pool
  readonly url: string
  /** Where it is, for people: without a password. */
  readonly place: string
  /** Starts it again, if it is ours and ended by itself. */
  revive(): Promise<void>
  close(): Promise<void>
}

const POOL_SIZE = 20
/** A process that was killed counts as living until its heartbeat has lapsed; this is longer. */
const LAPSE_MS = 20_000

/** What opening a database needs. */
export interface DatabaseContext {
  readonly home: Home
  readonly say: (text: string) => void
  readonly signal: AbortSignal
}

/**
 * Opens the database that the options ask for, empty after `--reset`.
 * @throws E_DB_CONNECT, E_DB_VERSION, or an Error that says why it cannot be reset.
 */
export async function openDatabase(
  { databaseUrl, reset }: Pick<ShopOptions, 'databaseUrl' | 'reset'>,
  context: DatabaseContext,
): Promise<Database> {
  if (databaseUrl === undefined) return openEmbedded(reset, context)
  const pool = openPool(databaseUrl, context)
  try {
    await checkConnection(pool)
    if (reset) await resetDatabase(pool, context)
  } catch (error) {
    await pool.end()
    throw error
  }
  return {
    pool,
    url: databaseUrl,
    place: placeOf(databaseUrl),
    revive: () => Promise.resolve(),
    close: () => pool.end(),
  }
}

async function openEmbedded(
  reset: boolean,
  { home, say, signal }: DatabaseContext,
): Promise<Database> {
  const directory = home.postgres
  const start = (persistent: boolean): Promise<EmbeddedPostgres> =>
    embeddedPostgres({ directory, persistent, signal, onNotice: say })
  if (reset) {
    // Data that cannot be started are removed as well; if somebody else is using them, the next start says so.
    const old = await start(false).catch(() => undefined)
    await old?.stop('immediate')
    if (old !== undefined) say('The embedded database was removed; a new one is made.')
  }
  const server = await start(true)
  const url = server.url()
  const pool = openPool(url, { say })
  return {
    pool,
    url,
    place: `embedded PostgreSQL 18 on port ${server.port}, files in ${shortPath(server.directory)}`,
    async revive() {
      if (server.pid !== undefined) return
      say('Starting the embedded database again.')
      await server.restart().catch((error: unknown) => say(`That failed: ${String(error)}`))
    },
    async close() {
      await pool.end()
      await server.stop()
    },
  }
}

function openPool(url: string, { say }: Pick<DatabaseContext, 'say'>): Pool {
  const pool = createPool(url, { max: POOL_SIZE })
  let said = false
  // An idle connection that breaks says so here; unheard, it would end the process.
  pool.on('error', (error) => {
    if (!said && !pool.ending) say(`A connection to the database broke: ${error.message}`)
    said = true
  })
  pool.on('connect', () => {
    said = false
  })
  return pool
}

async function resetDatabase(pool: Pool, { say, signal }: DatabaseContext): Promise<void> {
  const schemas = await schemasToDrop(pool)
  if (schemas.length === 0) return
  if (!schemas.includes('shop_tills')) {
    throw new Error(
      "This database has a schema millrace that is not the shop's, so it is not reset. Use another database.",
    )
  }
  await untilNobodyLives(pool, say, signal)
  say(`Dropping the schemas ${schemas.join(', ')} of this database.`)
  await dropSchemas(pool, schemas)
}

async function untilNobodyLives(
  pool: Pool,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + LAPSE_MS
  for (let first = true; ; first = false) {
    const living = await livingProcesses(pool)
    if (living.length === 0) return
    const names = living.join(', ')
    if (performance.now() > deadline) {
      throw new Error(`This database is in use by ${names}, so it is not reset. Stop that first.`)
    }
    if (first) say(`Waiting for ${names} to be gone from this database …`)
    await sleep(250, undefined, { signal })
  }
}

function placeOf(databaseUrl: string): string {
  const { hostname, port, pathname } = new URL(databaseUrl)
  return `${hostname}${port === '' ? '' : `:${port}`}${pathname}`
}
