import pg from 'pg'
import { MillraceError } from '../errors/millrace-error.ts'
import { classifyDatabaseError } from './sqlstate.ts'

/** How many connections a process may have at most, without the one that listens. */
export const DEFAULT_POOL_SIZE = 10

/** Options of {@link createPool}. */
export interface PoolOptions {
  /** Most connections. Default 10. */
  readonly max?: number
  /** Longest wait for a statement, in milliseconds; then its connection counts as broken. Default 20,000. */
  readonly statementMs?: number
}

/**
 * A pool for `url` with the time limits that an unattended process needs: a half-open connection is noticed by TCP
 * keep-alive and by a limit on every statement, instead of hanging for ever.
 */
export function createPool(url: string, options: PoolOptions = {}): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.max ?? DEFAULT_POOL_SIZE,
    application_name: 'millrace',
    connectionTimeoutMillis: 10_000,
    query_timeout: options.statementMs ?? 20_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    idleTimeoutMillis: 30_000,
  })
  outliveBrokenConnections(pool)
  return pool
}

/**
 * A small pool beside `pool`, to the same database, for what must not wait behind handlers: the heartbeat, and listening.
 * `statementMs` as in {@link PoolOptions}.
 */
export function createControlPool(pool: pg.Pool, statementMs: number): pg.Pool {
  const { options } = pool
  const control = new pg.Pool({
    ...options,
    // Not enumerable there, so that nobody logs them by accident.
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.ssl === undefined ? {} : { ssl: options.ssl }),
    max: 2,
    min: 0,
    query_timeout: statementMs,
  })
  outliveBrokenConnections(control)
  return control
}

/**
 * Gives every connection of `pool` a listener for its `error` that stays; the returned function ends that for connections
 * not handed out yet.
 *
 * Without it, a process that was stopped for a while may die: the server's last reply and its farewell arrive together,
 * pg hands the connection out for the reply, then emits `error` for the farewell before whoever awaits the connection has
 * gone on and can listen. Whoever uses the connection learns of the break from its next statement.
 */
export function outliveBrokenConnections(pool: pg.Pool): () => void {
  const heard = new WeakSet<pg.PoolClient>()
  const onAcquire = (client: pg.PoolClient): void => {
    if (heard.has(client)) return
    heard.add(client)
    client.on('error', () => {})
  }
  pool.on('acquire', onAcquire)
  return () => {
    pool.off('acquire', onAcquire)
  }
}

/**
 * Asks the database for its version, and says clearly what is wrong when that fails.
 * @throws E_DB_CONNECT when it cannot be reached or refuses us.
 * @throws E_DB_VERSION when it is older than PostgreSQL 15.
 * @returns the version as a number: 180004 is 18.4.
 */
export async function checkConnection(pool: pg.Pool): Promise<number> {
  let version: number
  try {
    const { rows } = await pool.query<{ version: string }>(
      `/* millrace:server-version */ select current_setting('server_version_num') as version`,
    )
    version = Number(rows[0]?.version)
  } catch (error) {
    throw connectError(error)
  }
  if (version < 150_000) {
    throw new MillraceError(
      'E_DB_VERSION',
      `PostgreSQL ${Math.floor(version / 10_000)} is too old: millrace needs 15 or newer. Upgrade the server, or point --database-url at another.`,
      { details: { version } },
    )
  }
  return version
}

/** `error` as E_DB_CONNECT when it is about reaching or entering the database, else as it is. */
export function connectError(error: unknown): unknown {
  const code = (error as { code?: string }).code ?? ''
  const hint = CONNECT_HINTS[code] ?? (code.startsWith('28') ? CONNECT_HINTS['28P01'] : undefined)
  if (hint === undefined && classifyDatabaseError(error) !== 'unavailable') return error
  const text = error instanceof Error ? error.message || code : String(error)
  return new MillraceError(
    'E_DB_CONNECT',
    `cannot connect to PostgreSQL: ${text}. ${hint ?? 'Check that it runs and can be reached from here.'}`,
    { retryable: true, cause: error },
  )
}

const CONNECT_HINTS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Nothing listens there: check host and port, and that the server runs.',
  ENOTFOUND: 'There is no host of that name: check the address.',
  ETIMEDOUT: 'The host does not answer: check the address and the firewall.',
  '28P01': 'The user or the password is wrong.',
  '3D000': 'There is no database of that name: create it, or correct the name.',
  '53300': 'The server has no connection left: lower the pool sizes, or raise max_connections.',
}
