import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import { thrownError } from '../errors/describe.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { connectError } from './connect.ts'
import type { Pool, PoolClient } from './pool.ts'
import type { Queryable, Row } from './queryable.ts'

/** A transaction that is open. It ends when the function it was given to returns or throws. */
export interface Transaction extends Queryable {
  /**
   * Runs `action` once, before the commit, in the order in which they were given: for what is better done for all of the
   * transaction than for each part of it. An error rolls back.
   */
  beforeCommit(action: () => Promise<void>): void
  /** @throws E_HANDLER when the transaction has ended. */
  assertOpen(): void
  /** Does now what {@link beforeCommit} has put off so far. */
  settle(): Promise<void>
  /** Runs `action` after the commit, and only then. Its errors are logged: the commit cannot be taken back. */
  afterCommit(action: () => void | Promise<void>): void
}

/** Options of {@link transaction}. */
export interface TransactionOptions {
  /**
   * Hard limit in milliseconds for one statement and for the time between two, kept by the server. Default 10,000.
   * Far below the take-over time, so that a stuck owner is out before somebody else starts.
   */
  readonly timeoutMs?: number
  /** How long to go on asking what became of a COMMIT whose reply was lost, in milliseconds. Default 30,000. */
  readonly resolveMs?: number
  /**
   * Asked instead of the server's transaction status when the reply to COMMIT was lost and the old backend has ended:
   * whether what this transaction wrote is there. Give one wherever a row can tell, for a row cannot be confused with
   * another transaction's, not even after a crash of the server.
   */
  readonly committed?: (db: Queryable) => Promise<boolean>
}

/**
 * Runs `action` in a transaction of its own and commits it.
 *
 * An error on COMMIT is a third outcome: when the connection breaks there, the server is asked what became of it, on
 * another connection, until it knows (ending the old backend if it is still at work). Committed: this returns as if
 * nothing had happened. Aborted: the error is thrown, retryable.
 * @throws E_DB_CONNECT, retryable, when the database cannot be reached or goes away before the commit.
 * @throws E_DB_UNKNOWN_COMMIT if the outcome cannot be found out within `resolveMs`.
 */
export async function transaction<T>(
  pool: Pool,
  core: Core,
  action: (tx: Transaction) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 10_000
  const client = await pool.connect().catch(throwConnectError)
  const before: (() => Promise<void>)[] = []
  const after: (() => void | Promise<void>)[] = []
  let broken: Error | undefined
  const breaking = Promise.withResolvers<never>()
  // Mostly nobody waits for it.
  breaking.promise.catch(() => {})
  // A connection that breaks between two statements says so only here; unheard, it would end the process. It also ends
  // the wait for a function that hangs: the server ends a session that is idle in its transaction.
  const onError = (error: Error): void => {
    broken ??= error
    breaking.reject(connectError(error))
  }
  client.on('error', onError)
  let released = false
  const release = (error?: Error): void => {
    if (released) return
    released = true
    client.off('error', onError)
    client.release(error ?? broken)
  }

  let result: T
  let mark: CommitMark
  // A handler that was given up on may still hold the transaction; its connection belongs to somebody else by then.
  let open = true
  try {
    await client.query(
      `/* millrace:begin */ begin; set local statement_timeout = ${timeoutMs}; set local idle_in_transaction_session_timeout = ${timeoutMs}`,
    )
    const tx: Transaction = {
      query: <R extends Row>(text: string, values?: readonly unknown[]) =>
        open
          ? (client as Queryable)
              .query<R>(text, values)
              .catch((error: unknown) => throwConnectError(broken ?? error))
          : Promise.reject(closedError()),
      assertOpen() {
        if (!open) throw closedError()
      },
      beforeCommit: (run) => {
        before.push(run)
      },
      async settle() {
        for (let run = before.shift(); run !== undefined; run = before.shift()) await run()
      },
      afterCommit: (run) => {
        after.push(run)
      },
    }
    result = await Promise.race([action(tx), breaking.promise])
    await tx.settle()
    open = false
    mark = await commitMark(client, options.committed === undefined)
  } catch (error) {
    open = false
    // The server rolls back by itself when the connection is gone.
    const rolledBack = await client.query('/* millrace:rollback */ rollback').then(
      () => true,
      () => false,
    )
    release(rolledBack ? undefined : thrownError(error))
    throw error
  }

  try {
    await failpoint('transaction:before-commit')
    const reply = await client.query('/* millrace:commit */ commit')
    // PostgreSQL answers COMMIT of a failed transaction with ROLLBACK, and no error.
    if (reply.command === 'ROLLBACK') {
      release()
      throw new MillraceError(
        'E_HANDLER',
        'the transaction had failed before it was committed; nothing was written. Do not swallow database errors inside a transaction.',
      )
    }
    await failpoint('transaction:after-commit')
  } catch (error) {
    if (error instanceof MillraceError) throw error
    if (isServerReply(error)) {
      release()
      throw error
    }
    release(thrownError(error))
    if (mark.xid !== undefined || options.committed !== undefined) {
      await resolveCommit(pool, core, mark, thrownError(error), options)
    }
  }
  release()
  for (const run of after) {
    try {
      await run()
    } catch (error) {
      core.logger.warn({ error }, 'an action after commit failed; the commit stands')
    }
  }
  return result
}

/** Which transaction, and which backend, in words that stay valid on another connection. */
interface CommitMark extends Backend {
  /** Undefined: nothing was written, or a row will be asked instead. */
  readonly xid: string | undefined
}

interface Backend {
  readonly pid: number
  readonly backendStart: string
  readonly serverStart: string
}

/** Backends do not change while a connection lives, so each is asked once. */
const backends = new WeakMap<PoolClient, Backend>()

async function commitMark(client: PoolClient, withXid: boolean): Promise<CommitMark> {
  let backend = backends.get(client)
  if (backend !== undefined && !withXid) return { ...backend, xid: undefined }
  const { rows } = await client.query<{
    xid: string | null
    pid: number
    started: string
    server: string
  }>(
    `/* millrace:commit-mark */ select pg_current_xact_id_if_assigned()::text as xid, pg_backend_pid() as pid,
       (select extract(epoch from backend_start)::text from pg_stat_get_activity(pg_backend_pid())) as started,
       extract(epoch from pg_postmaster_start_time())::text as server`,
  )
  const row = rows[0] as (typeof rows)[0]
  backend = { pid: row.pid, backendStart: row.started, serverStart: row.server }
  backends.set(client, backend)
  return { ...backend, xid: row.xid ?? undefined }
}

/** So that whoever catches it can tell our database's absence from anybody else's. */
function throwConnectError(error: unknown): never {
  throw connectError(error)
}

function closedError(): MillraceError {
  return new MillraceError(
    'E_HANDLER',
    'the transaction is over: it was used after the function it was given to had returned, failed or timed out. Await everything you do in it.',
  )
}

/** Returns if the transaction committed, throws if it did not or if nobody can say. */
async function resolveCommit(
  pool: Pool,
  core: Core,
  mark: CommitMark,
  cause: Error,
  options: TransactionOptions,
): Promise<void> {
  const deadline = core.clock.monotonicMs() + (options.resolveMs ?? 30_000)
  for (let waitMs = 20; ; waitMs = Math.min(500, waitMs * 2)) {
    const outcome = await askOutcome(pool, mark, options.committed).catch(
      () => 'unreachable' as const,
    )
    if (outcome === 'committed') {
      core.logger.info(
        { xid: mark.xid },
        'the reply to COMMIT was lost; the transaction had committed',
      )
      return
    }
    if (outcome === 'aborted') {
      throw new MillraceError(
        'E_DB_CONNECT',
        `the connection broke during COMMIT and the transaction was rolled back: ${cause.message}`,
        { retryable: true, cause },
      )
    }
    if (outcome === 'unknowable' || core.clock.monotonicMs() > deadline) {
      throw new MillraceError(
        'E_DB_UNKNOWN_COMMIT',
        'the connection broke during COMMIT, and whether it took effect could not be found out. Look at the data before repeating it.',
        { cause, details: { xid: mark.xid } },
      )
    }
    await core.clock.sleep(waitMs)
  }
}

async function askOutcome(
  pool: Pool,
  mark: CommitMark,
  committed: TransactionOptions['committed'],
): Promise<'committed' | 'aborted' | 'in progress' | 'unknowable'> {
  // The old backend may still be at it: a connection lost is not a statement undone. End it, then look.
  const { rows: alive } = await pool.query<{ ended: boolean }>(
    `/* millrace:end-backend */ select pg_terminate_backend(pid) as ended from pg_stat_activity
     where pid = $1 and extract(epoch from backend_start)::text = $2`,
    [mark.pid, mark.backendStart],
  )
  if (alive.length > 0) return 'in progress'
  if (committed !== undefined) {
    return (await committed(pool)) ? 'committed' : 'aborted'
  }
  const { rows } = await pool
    .query<{ status: string | null; server: string }>(
      '/* millrace:xact-status */ select pg_xact_status($1::xid8) as status, extract(epoch from pg_postmaster_start_time())::text as server',
      [mark.xid],
    )
    .catch((error: unknown) => {
      // "In the future": a crash took the id away before anything of it had reached the disk.
      if ((error as { code?: string }).code !== '22023') throw error
      return { rows: [{ status: 'aborted', server: '' }] }
    })
  const row = rows[0]
  if (row?.status === 'aborted' || row?.status === 'in progress') return row.status
  // After a crash of the server an id that never reached the disk may be given out again: then "committed" may speak of
  // a stranger. "aborted" is safe in both readings.
  if (row?.status === 'committed')
    return row.server === mark.serverStart ? 'committed' : 'unknowable'
  return 'unknowable'
}

/** The server answered, so it knows that it did not commit; unless it was being shut down while it did. */
function isServerReply(error: unknown): boolean {
  const { severity, code } = thrownError(error) as { severity?: unknown; code?: unknown }
  // By the code, for the severity's text is in the server's language.
  if (severity === undefined || typeof code !== 'string') return false
  return !/^(08|57P|58)/.test(code) && !['25P03', '25P04'].includes(code)
}
