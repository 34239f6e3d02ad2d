import { storableText } from '../core/storable-text.ts'
import { CancelReason, StopReason, TimeoutReason } from '../core/abort.ts'
import type { Random } from '../core/random.ts'
import { describeError, type ErrorDescription } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import { PERMANENT_CODES } from '../errors/permanent-codes.ts'
import type { AnyJobDefinition } from '../jobs/job.ts'
import { isJobOutcome, MAX_SNOOZE_MS, type SnoozeOutcome } from '../jobs/outcome.ts'
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
        waitMs: waitOf(value),
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
      state: 'scheduled',
      waitMs: backoffOf(facts),
      charged: false,
      cleared: true,
      outcome: null,
      errorJson: JSON.stringify(describeError(error)),
    }
  }
  return failed(facts, JSON.stringify(describeError(error)), isPermanent(error))
}

function failed(facts: AttemptFacts, errorJson: string, hopeless: boolean): AttemptResult {
  const outcome: AttemptOutcome = facts.aborted instanceof TimeoutReason ? 'timed_out' : 'failed'
  if (hopeless || facts.attempt >= facts.maxAttempts) {
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

/**
 * What becomes of a job whose handler threw or returned something that cannot even be looked at, as an object whose getters
 * throw: a failed attempt like any other.
 */
export function decideUnreadable(facts: AttemptFacts): AttemptResult {
  return failed(facts, JSON.stringify(UNREADABLE), false)
}

const UNREADABLE: ErrorDescription = {
  class: 'unknown',
  message: 'what the handler threw or returned cannot be read: looking at it throws',
}

/** Whether `error` says that trying again is useless. */
export function isPermanent(error: unknown): boolean {
  return isMillraceError(error) && !error.retryable && PERMANENT_CODES.has(error.code)
}

function ended(
  state: 'cancelled' | 'discarded',
  outcome: AttemptOutcome | null,
  errorJson: string | null,
  reason: string | null,
): AttemptResult {
  return { result: 'ended', state, outcome, errorJson, reason }
}

/** An outcome made by hand may hold anything; the database takes no wait that is not finite. */
function waitOf({ waitMs }: SnoozeOutcome): number {
  if (!Number.isFinite(waitMs)) throw new RangeError(`a snooze of ${waitMs} ms`)
  return Math.min(MAX_SNOOZE_MS, Math.max(0, waitMs))
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

/** Users of JavaScript give anything as a reason. */
function storable(reason: unknown): string {
  let text: string
  try {
    text = String(reason)
  } catch {
    // The outcome counts, with a reason or without.
    text = '(a reason that cannot be read)'
  }
  return storableText(text.slice(0, REASON_LIMIT))
}
