import type { Core } from '../core/core.ts'
import { thrownError } from '../errors/describe.ts'
import { commitMark, isServerReply, resolveCommit } from './commit-outcome.ts'
import { connectError } from './connect.ts'
import type { Pool, PoolClient } from './pool.ts'
import type { Queryable } from './queryable.ts'

/**
 * Runs one statement that commits by itself: a round trip instead of three. Its error, like one on COMMIT, has a third
 * outcome: when the connection breaks, the server is asked, on another connection, until it knows.
 * @param run runs the one statement, through the connection it is given.
 * @param committed whether what the statement wrote is there; asked when the old backend has ended.
 * @returns what `run` gave; `undefined` when the reply was lost, but the statement took effect.
 * @throws E_DB_CONNECT, retryable, when it did not; E_DB_UNKNOWN_COMMIT when that cannot be found out.
 */
export async function statement<T>(
  pool: Pool,
  core: Core,
  run: (db: Queryable) => Promise<T>,
  committed: (db: Queryable) => Promise<boolean>,
): Promise<T | undefined> {
  const client = await connected(pool)
  // A connection that breaks between two statements says so only here; unheard, it would end the process.
  const onError = (): void => {}
  client.on('error', onError)
  const release = (error?: Error): void => {
    client.off('error', onError)
    client.release(error)
  }
  const mark = await commitMark(client, false).catch((error: unknown) => {
    // Nothing has been sent that could have taken effect.
    release(thrownError(error))
    throw connectError(error)
  })
  try {
    const result = await run(client)
    release()
    return result
  } catch (error) {
    if (isServerReply(error)) {
      release()
      throw error
    }
    release(thrownError(error))
    await resolveCommit(pool, core, mark, thrownError(error), { committed })
    return undefined
  }
}

async function connected(pool: Pool): Promise<PoolClient> {
  return pool.connect().catch((error: unknown) => {
    throw connectError(error)
  })
}
