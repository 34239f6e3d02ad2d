import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import { thrownError } from '../errors/describe.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import {
  commitMark,
  isServerReply,
  resolveCommit,
  type CommitMark,
  type ResolveOptions,
} from './commit-outcome.ts'
import { connectError } from './connect.ts'
import type { Pool } from './pool.ts'
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
export interface TransactionOptions extends ResolveOptions {
  /**
   * Hard limit in milliseconds for one statement and for the time between two, kept by the server. Default 10,000.
   * Far below the take-over time, so that a stuck owner is out before somebody else starts.
   */
  readonly timeoutMs?: number
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

  /** What our own statements fail with too: the connection may break at any of them. */
  const throwBroken = (error: unknown): never => throwConnectError(broken ?? error)

  let result: T
  let mark: CommitMark
  // A handler that was given up on may still hold the transaction; its connection belongs to somebody else by then.
  let open = true
  try {
    await client
      .query(
        `/* millrace:begin */ begin; set local statement_timeout = ${timeoutMs}; set local idle_in_transaction_session_timeout = ${timeoutMs}`,
      )
      .catch(throwBroken)
    const tx: Transaction = {
      query: <R extends Row>(text: string, values?: readonly unknown[]) =>
        open
          ? (client as Queryable).query<R>(text, values).catch(throwBroken)
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
    mark = await commitMark(client, options.committed === undefined).catch(throwBroken)
  } catch (error) {
    open = false
    // The server rolls back by itself when the connection is gone; a statement asked of that would hold a timer.
    const rolledBack =
      broken === undefined &&
      (await client.query('/* millrace:rollback */ rollback').then(
        () => true,
        () => false,
      ))
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
