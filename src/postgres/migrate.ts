import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type pg from 'pg'
import { MillraceError } from '../errors/millrace-error.ts'
import { checkConnection } from './connect.ts'

const MIGRATIONS = new URL('../../sql/migrations/', import.meta.url)
/** First key as for the table log's locks (0x4D52…), less one; see the spine's migration. */
const LOCK = [1_297_219_583, 0] as const

/** One step of the schema, forward only. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
  /** SHA-256 of the text, hexadecimal. */
  readonly checksum: string
}

/** What of the schema is there and what is missing. */
export interface MigrationState {
  readonly applied: readonly string[]
  readonly pending: readonly string[]
}

/** The migrations that this version of the code knows, in order. */
export async function knownMigrations(): Promise<readonly Migration[]> {
  const names = (await readdir(MIGRATIONS)).filter((name) => /^\d{4}_.+\.sql$/.test(name)).sort()
  return Promise.all(
    names.map(async (file) => {
      const sql = await readFile(new URL(file, MIGRATIONS), 'utf8')
      return {
        version: Number(file.slice(0, 4)),
        name: file.slice(0, -4),
        sql,
        checksum: createHash('sha256').update(sql).digest('hex'),
      }
    }),
  )
}

/**
 * Brings the database's `millrace` schema to the version of this code. Each migration runs in a transaction of its own;
 * processes that migrate at once wait for each other; killed half-way, the next call goes on.
 * @throws E_DB_CONNECT, E_DB_VERSION
 * @throws E_DB_MIGRATION when one fails, when an applied one was changed, or when the database is newer than the code.
 */
export async function migrate(
  pool: pg.Pool,
  options: { readonly signal?: AbortSignal } = {},
): Promise<{ applied: string[] }> {
  await checkConnection(pool)
  const known = await knownMigrations()
  const client = await pool.connect()
  const applied: string[] = []
  let failure: Error | undefined
  try {
    await client.query(
      patient('/* millrace:migrate-lock */ select pg_advisory_lock($1, $2)', [...LOCK]),
    )
    const done = await appliedMigrations(client)
    verify(known, done)
    for (const migration of known.slice(done.length)) {
      options.signal?.throwIfAborted()
      await apply(client, migration)
      applied.push(migration.name)
    }
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
    throw error
  } finally {
    if (failure === undefined) {
      await client.query('/* millrace:migrate-unlock */ select pg_advisory_unlock($1, $2)', [
        ...LOCK,
      ])
    }
    // A failed session takes its lock with it.
    client.release(failure)
  }
  return { applied }
}

/** What is applied and what is pending. Changes nothing. */
export async function migrationState(pool: pg.Pool): Promise<MigrationState> {
  const known = await knownMigrations()
  const done = await appliedMigrations(pool)
  verify(known, done)
  return {
    applied: known.slice(0, done.length).map(({ name }) => name),
    pending: known.slice(done.length).map(({ name }) => name),
  }
}

interface Applied extends Record<string, unknown> {
  readonly version: number
  readonly name: string
  readonly checksum: string
}

async function appliedMigrations(db: pg.Pool | pg.PoolClient): Promise<Applied[]> {
  const { rows: found } = await db.query<{ there: boolean }>(
    `/* millrace:migrations-there */ select to_regclass('millrace.migration') is not null as there`,
  )
  if (!found[0]?.there) return []
  const { rows } = await db.query<Applied>(
    '/* millrace:migrations-applied */ select version, name, checksum from millrace.migration order by version',
  )
  return rows
}

function verify(known: readonly Migration[], done: readonly Applied[]): void {
  for (const [index, row] of done.entries()) {
    const migration = known[index]
    if (migration === undefined) {
      throw new MillraceError(
        'E_DB_MIGRATION',
        `the database has migration ${row.name}, which this version of millrace does not know: it was migrated by newer code. Deploy that, or a newer one.`,
      )
    }
    if (migration.version !== row.version || migration.checksum !== row.checksum) {
      throw new MillraceError(
        'E_DB_MIGRATION',
        `migration ${row.name} is not the one that was applied to this database: its text has changed since. Applied migrations are never edited; add a new one.`,
      )
    }
  }
}

/** A statement that may take as long as it takes, whatever the pool's limit: a day. */
function patient(text: string, values?: number[]): pg.QueryConfig {
  const config = { text, query_timeout: 86_400_000 }
  return values === undefined ? config : { ...config, values }
}

async function apply(client: pg.PoolClient, migration: Migration): Promise<void> {
  try {
    await client.query('begin')
    await client.query('create schema if not exists millrace')
    await client.query(`create table if not exists millrace.migration (
      version integer primary key, name text not null, checksum text not null,
      applied_at timestamptz not null default clock_timestamp())`)
    await client.query(patient(migration.sql))
    await client.query(
      'insert into millrace.migration (version, name, checksum) values ($1, $2, $3)',
      [migration.version, migration.name, migration.checksum],
    )
    await client.query('commit')
  } catch (error) {
    await client.query('rollback').catch(() => {})
    throw new MillraceError(
      'E_DB_MIGRATION',
      `migration ${migration.name} failed and was rolled back: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    )
  }
}
