import type { DeclaredEffect } from '../timeline/effect.ts'
import type { ClaimedJob } from './claimed-job.ts'

/** How an attempt that did not complete is written down. */
export type AttemptOutcome = 'failed' | 'timed_out' | 'interrupted'

/** What becomes of a claimed job. */
export type AttemptResult = CompletedResult | PutBackResult | EndedResult

/** The handler did it. */
export interface CompletedResult {
  readonly result: 'completed'
}

/** It comes back: after a failed attempt, after a snooze, or because this process stops. */
export interface PutBackResult {
  readonly result: 'put back'
  readonly state: 'retryable' | 'scheduled' | 'available'
  readonly waitMs: number
  /** Whether the attempt counts. */
  readonly charged: boolean
  /** Whether the handler ran to its end, so that a suspect is cleared. */
  readonly cleared: boolean
  /** Null: nothing is written down. */
  readonly outcome: AttemptOutcome | null
  readonly errorJson: string | null
}

/** It is over, without having been completed. */
export interface EndedResult {
  readonly result: 'ended'
  readonly state: 'cancelled' | 'discarded'
  readonly outcome: AttemptOutcome | null
  readonly errorJson: string | null
  readonly reason: string | null
}

/** Completed, in the form in which a hook is told of it. */
export interface CompletedEnd extends Omit<EndedResult, 'state'> {
  readonly state: 'completed'
}

/** A job with what becomes of it. */
export interface Settled<R extends AttemptResult | CompletedEnd = AttemptResult | CompletedEnd> {
  readonly job: ClaimedJob
  readonly result: R
  /** What its handler declared. */
  readonly effects?: readonly DeclaredEffect[] | undefined
}

/** The attempt is over and the job completed. */
export const COMPLETED: CompletedResult = Object.freeze({ result: 'completed' })

/** The job was never started: back to where it stood, and nothing happened. */
export const HANDED_BACK: PutBackResult = Object.freeze({
  result: 'put back',
  state: 'available',
  waitMs: 0,
  charged: false,
  cleared: false,
  outcome: null,
  errorJson: null,
})

/** The handler was ended by a stop of this process: the attempt is written down, and does not count. */
export const INTERRUPTED: PutBackResult = Object.freeze({ ...HANDED_BACK, outcome: 'interrupted' })

/** Somebody cancelled the job. */
export const CANCELLED: EndedResult = Object.freeze({
  result: 'ended',
  state: 'cancelled',
  outcome: null,
  errorJson: null,
  reason: 'cancelled by an operator',
})

/** {@link COMPLETED}, for a hook. */
export const COMPLETED_END: CompletedEnd = Object.freeze({
  result: 'ended',
  state: 'completed',
  outcome: null,
  errorJson: null,
  reason: null,
})
