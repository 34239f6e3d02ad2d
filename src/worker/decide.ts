import { CancelReason, StopReason, TimeoutReason } from '../core/abort.ts'
import type { Random } from '../core/random.ts'
import type { ErrorCode } from '../errors/codes.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { AnyJobDefinition } from '../jobs/job.ts'
import { isJobOutcome } from '../jobs/outcome.ts'
import {
  CANCELLED,
  COMPLETED,
  INTERRUPTED,
  type AttemptOutcome,
  type AttemptResult,
} from './result.ts'

/** What is known about an attempt when it ends. */
export interface AttemptFacts {
  readonly definition: Pick<AnyJobDefinition, 'backoff'>
  readonly attempt: number
  readonly maxAttempts: number
  readonly random: Random
  /** Why its signal was aborted, if it was. */
  readonly aborted: unknown
}

/** Errors that come back the same way however often one tries. */
const PERMANENT: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'E_PERMANENT',
  'E_EVENT_INVALID',
  'E_EVENT_UNDECODABLE',
  'E_EVENT_VERSION',
  'E_EVENT_TOO_LARGE',
])

/** What becomes of a job whose handler returned `value`. */
export function decideReturned(value: unknown, facts: AttemptFacts): AttemptResult {
  if (value === undefined || !isJobOutcome(value)) return COMPLETED
  const reason = value.reason === undefined ? null : storable(value.reason)
  switch (value.outcome) {
    case 'snooze':
      // Somebody wants it gone, so it is not to come back.
      if (facts.aborted instanceof CancelReason) return CANCELLED
      return {
        result: 'put back',
        state: 'scheduled',
        waitMs: value.waitMs,
        charged: false,
        cleared: true,
        outcome: null,
        errorJson: reason === null ? null : JSON.stringify({ class: 'Snooze', message: reason }),
      }
    case 'cancel':
      return ended('cancelled', null, null, reason)
    case 'discard':
      return ended('discarded', null, null, reason)
  }
}

/** What becomes of a job whose handler threw `error`. */
export function decideThrown(error: unknown, facts: AttemptFacts): AttemptResult {
  if (facts.aborted instanceof CancelReason) return CANCELLED
  if (facts.aborted instanceof StopReason) return INTERRUPTED
  if (isMillraceError(error) && error.code === 'E_DB_CONNECT') {
    // Our own database was away: no fault of the job's, so it keeps its attempt.
    return {
      result: 'put back',
      state: 'retryable',
      waitMs: backoffOf(facts),
      charged: false,
      cleared: true,
      outcome: null,
      errorJson: JSON.stringify(describeError(error)),
    }
  }
  const outcome: AttemptOutcome = facts.aborted instanceof TimeoutReason ? 'timed_out' : 'failed'
  const errorJson = JSON.stringify(describeError(error))
  if (isPermanent(error) || facts.attempt >= facts.maxAttempts) {
    return ended('discarded', outcome, errorJson, null)
  }
  return {
    result: 'put back',
    state: 'retryable',
    waitMs: backoffOf(facts),
    charged: true,
    cleared: true,
    outcome,
    errorJson,
  }
}

/** Whether `error` says that trying again is useless. */
export function isPermanent(error: unknown): boolean {
  return isMillraceError(error) && !error.retryable && PERMANENT.has(error.code)
}

function ended(
  state: 'cancelled' | 'discarded',
  outcome: AttemptOutcome | null,
  errorJson: string | null,
  reason: string | null,
): AttemptResult {
  return { result: 'ended', state, outcome, errorJson, reason }
}

const FALLBACK_BACKOFF_MS = 60_000

function backoffOf({ definition, attempt, random }: AttemptFacts): number {
  try {
    return definition.backoff(attempt, random)
  } catch {
    // A back-off function of the user's that throws must not lose the job.
    return FALLBACK_BACKOFF_MS
  }
}

const REASON_LIMIT = 4_000

function storable(reason: string): string {
  return String(reason).slice(0, REASON_LIMIT).toWellFormed().replaceAll('\u0000', '\\u0000')
}
