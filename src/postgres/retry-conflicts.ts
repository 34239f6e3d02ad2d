import { backoffMs, type BackoffOptions } from '../core/backoff.ts'
import type { Core } from '../core/core.ts'
import { classifyDatabaseError } from './sqlstate.ts'

const MAX_TRIES = 6
const BACKOFF: BackoffOptions = { baseMs: 20, maxMs: 1_000 }

/**
 * Does `action`, a transaction as a whole, again when it and another one waited for each other in a circle until PostgreSQL
 * ended it: six times at most.
 */
export async function retryConflicts<T>(core: Core, action: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await action()
    } catch (error) {
      if (tries === MAX_TRIES || classifyDatabaseError(error) !== 'conflict') throw error
      await core.clock.sleep(backoffMs(tries, core.random, BACKOFF))
    }
  }
}
