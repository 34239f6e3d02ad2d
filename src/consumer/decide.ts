import { isMillraceError } from '../errors/millrace-error.ts'
import { PERMANENT_CODES } from '../errors/permanent-codes.ts'
import { classifyDatabaseError } from '../postgres/sqlstate.ts'

/** What is done about a failure of a record. */
export type Decision =
  /** It will fail the same way for ever: set the record aside and go on. */
  | 'dead-letter'
  /** It may succeed later: wait, and try again, as one more attempt. */
  | 'retry'
  /** Not the record's fault: wait until the database is back, however long; costs no attempt. */
  | 'wait'
  /** The position may no longer be where it was thought to be: drop everything uncommitted and look at it anew. */
  | 'give-up'

/**
 * One decision for every failure of a record, from the error and how often this record has been tried, `attempt`
 * counted from 1. Database errors of class 22 (this value cannot be stored) are permanent; a constraint (class 23) may
 * hold later, so it uses up the attempts first.
 */
export function decide(error: unknown, attempt: number, maxAttempts: number): Decision {
  if (isMillraceError(error)) {
    if (error.code === 'E_CONSUMER_NOT_OWNER' || error.code === 'E_DB_UNKNOWN_COMMIT')
      return 'give-up'
    if (PERMANENT_CODES.has(error.code)) return 'dead-letter'
    if (error.code === 'E_DB_CONNECT') return 'wait'
  }
  switch (classifyDatabaseError(error)) {
    case 'unavailable':
    case 'conflict':
      return 'wait'
    case 'statement':
      if (((error as { code?: string }).code ?? '').startsWith('22')) return 'dead-letter'
      break
    case undefined:
      break
  }
  return attempt >= maxAttempts ? 'dead-letter' : 'retry'
}
