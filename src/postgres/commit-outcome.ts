import type { Core } from '../core/core.ts'
import { thrownError } from '../errors/describe.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Pool, PoolClient } from './pool.ts'
import type { Queryable } from './queryable.ts'

/** How the outcome of a commit is found out. */
export interface ResolveOptions {
  /** How long to go on asking, in milliseconds. Default 30,000. */
  readonly resolveMs?: number
  /**
   * Asked instead of the server's transaction status when the reply was lost and the old backend has ended: whether what
   * the transaction wrote is there. Give one wherever a row can tell, for a row cannot be confused with another
   * transaction's, not even after a crash of the server.
   */
  readonly committed?: (db: Queryable) => Promise<boolean>
}

/** Which transaction, and which backend, in words that stay valid on another connection. */
export interface CommitMark extends Backend {
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

/** Asked before the commit; with `withXid` each time, without it once per connection. */
export async function commitMark(client: PoolClient, withXid: boolean): Promise<CommitMark> {
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

/** Returns if the transaction committed, throws if it did not or if nobody can say. */
export async function resolveCommit(
  pool: Pool,
  core: Core,
  mark: CommitMark,
  cause: Error,
  options: ResolveOptions,
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
  committed: ResolveOptions['committed'],
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
export function isServerReply(error: unknown): boolean {
  const { severity, code } = thrownError(error) as { severity?: unknown; code?: unknown }
  // By the code, for the severity's text is in the server's language.
  if (severity === undefined || typeof code !== 'string') return false
  return !/^(08|57P|58)/.test(code) && !['25P03', '25P04'].includes(code)
}
