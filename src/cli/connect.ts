import {
  accountName,
  connectOperator,
  explainDatabaseError,
  type Operator,
} from '../app/operator.ts'
import type { CommandContext } from './command.ts'
import type { LoadedConfig } from './config-file.ts'
import { databaseName } from './database-name.ts'
import { findDatabase, type DatabaseSearch, type FoundDatabase } from './database-url.ts'
import { CliError } from './errors.ts'
import { findLog } from './find-log.ts'

/** A connected operator with what led to it. */
export interface Connection {
  readonly operator: Operator
  readonly config: LoadedConfig | undefined
}

/** Options of {@link withOperator}. */
export interface ConnectOptions {
  /** Default: the config is only read where the address is not found before it. */
  readonly config?: DatabaseSearch['config']
  /** Whether the command changes something: then it first says where and as whom. */
  readonly writes?: boolean
}

/**
 * Connects, does `action`, and ends the connections, also those of a pool that the config made: nobody else in this
 * process needs it.
 * @throws E_CLI_NO_DATABASE, E_DB_CONNECT, E_DB_VERSION, E_CLI_NO_PERMISSION
 */
export async function withOperator<T>(
  context: CommandContext,
  options: ConnectOptions,
  action: (connection: Connection) => Promise<T>,
): Promise<T> {
  const found = await findDatabase({ ...context, config: options.config ?? 'for-address' })
  const log = await findLog(context, found)
  const user = userOf(context)
  if (options.writes === true) context.out.note(profileLine(found, log?.kind ?? 'table', user))
  try {
    const operator = await connectOperator({
      database: found.database,
      core: context.core,
      user,
      ...(log === undefined ? {} : { log }),
    })
    try {
      return await action({ operator, config: found.config })
    } finally {
      await operator.close()
    }
  } catch (error) {
    throw withPermission(explainDatabaseError(error))
  } finally {
    await endConfiguredPool(found.config)
  }
}

/** Ends the pool that a config made, if it made one. */
export async function endConfiguredPool(config: LoadedConfig | undefined): Promise<void> {
  const pool = config?.millrace.database
  // It may have been ended already: that is all that is wanted.
  if (typeof pool === 'object') await pool.end().catch(() => {})
}

/** Where a command is about to change something, and as whom. */
export function profileLine(
  found: Pick<FoundDatabase, 'database'>,
  logKind: string,
  user: string,
): string {
  return `profile default · db ${nameOf(found.database)} · log ${logKind} · user ${user}`
}

/** Who orders: `--user`, then MILLRACE_USER, then the account. */
export function userOf({ args, env }: Pick<CommandContext, 'args' | 'env'>): string {
  const named = args.text('user') ?? env['MILLRACE_USER'] ?? ''
  return named.trim() === '' ? accountName() : named.trim()
}

function nameOf(database: FoundDatabase['database']): string {
  if (typeof database === 'string') return databaseName(database)
  const {
    connectionString,
    host,
    database: name,
  } = (database.options ?? {}) as {
    connectionString?: string
    host?: string
    database?: string
  }
  return connectionString === undefined
    ? `${name ?? 'postgres'}@${host ?? 'localhost'}`
    : databaseName(connectionString)
}

function withPermission(error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message?: unknown }
  if (code !== '42501') return error
  return new CliError(
    'E_CLI_NO_PERMISSION',
    `the database does not allow this: ${String(message)}`,
    {
      next: 'millrace doctor',
      cause: error,
    },
  )
}
