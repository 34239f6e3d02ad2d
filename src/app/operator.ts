import { hostname, userInfo } from 'node:os'
import { createCore, type Core } from '../core/core.ts'
import { closeDeadLettersOfJobs } from '../dead-letter/dead-letter.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { JobWaker } from '../jobs/wake.ts'
import type { LogFactory } from '../log/factory.ts'
import type { Log } from '../log/port.ts'
import { checkConnection, connectError, createPool } from '../postgres/connect.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** Options of {@link connectOperator}. */
export interface OperatorOptions {
  /** A pool that you have, or a URL. */
  readonly database: Pool | string
  /** Most connections of the pool made for a URL. Default 3. */
  readonly poolSize?: number
  /** Where events are. Default: the table log, in the same database. */
  readonly log?: LogFactory
  readonly core?: Partial<Core>
  /** Who orders; kept with every order. Default: the account of the operating system and its host, `ana@host`. */
  readonly user?: string
}

/** What somebody needs who looks at millrace, or orders something, without running a part of it. */
export interface Operator extends AsyncDisposable {
  readonly core: Core
  readonly pool: Pool
  /** Who orders, as it is kept with every order. */
  readonly user: string
  /** What kind of log it is: `table`. */
  readonly logKind: string
  /** Tells the workers of jobs that may be claimed. */
  readonly waker: JobWaker
  /** Closes the dead letters of jobs that are retried, in the same transaction. */
  readonly onRetried: (tx: Queryable, ids: readonly string[]) => Promise<void>
  /** Opens the log at the first call. */
  log(): Promise<Log>
  /** Sends the last wake-ups and ends the connections. A pool that was given stays open. Safe to call twice. */
  close(): Promise<void>
}

/**
 * Connects to the database, and does nothing else.
 * @throws E_DB_CONNECT, E_DB_VERSION
 */
export async function connectOperator(options: OperatorOptions): Promise<Operator> {
  const operator = openOperator(options)
  try {
    await checkConnection(operator.pool)
    return operator
  } catch (error) {
    await operator.close()
    throw error
  }
}

/** As {@link connectOperator}, without trying whether the database answers: for those who ask just that. */
export function openOperator(options: OperatorOptions): Operator {
  const core = createCore(options.core)
  const { database } = options
  const own = typeof database === 'string'
  const pool = own ? createPool(database, { max: options.poolSize ?? 3 }) : database
  // An idle connection that breaks says so here; unheard, it would end the process.
  const onError = (error: Error): void =>
    core.logger.debug({ error }, 'an idle database connection broke')
  pool.on('error', onError)
  const waker = new JobWaker({ core, pool })
  let log: Promise<Log> | undefined
  let closing: Promise<void> | undefined
  async function close(): Promise<void> {
    const opened = await log?.catch(() => undefined)
    await opened?.close()
    await waker.idle()
    if (own) await pool.end()
    else pool.off('error', onError)
  }
  const operator: Operator = {
    core,
    pool,
    user: options.user ?? accountName(),
    logKind: options.log?.kind ?? 'table',
    waker,
    onRetried: closeDeadLettersOfJobs,
    log: () => (log ??= openLog(options.log, { core, pool })),
    close: () => (closing ??= close()),
    [Symbol.asyncDispose]: () => operator.close(),
  }
  return operator
}

/** The account of the operating system and its host: `ana@host`. */
export function accountName(): string {
  try {
    return `${userInfo().username}@${hostname()}`
  } catch {
    // A container may run under a number that has no name.
    return `uid-${process.getuid?.() ?? 'unknown'}@${hostname()}`
  }
}

async function openLog(
  factory: LogFactory | undefined,
  environment: { core: Core; pool: Pool },
): Promise<Log> {
  if (factory !== undefined) return factory.open(environment)
  const { tableLog } = await import('../log/table-log.ts')
  return tableLog().open(environment)
}

/** `error`, in words of ours where the database refused, cannot be reached, or has no tables of millrace. */
export function explainDatabaseError(error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message?: unknown }
  // Undefined table, schema, column or function.
  if (
    typeof code === 'string' &&
    ['42P01', '3F000', '42703', '42883'].includes(code) &&
    String(message).includes('millrace')
  ) {
    return new MillraceError(
      'E_DB_MIGRATION',
      `this database has no tables of millrace, or older ones: ${String(message)}. Run \`millrace migrate\`.`,
      {
        cause: error,
      },
    )
  }
  return connectError(error)
}
