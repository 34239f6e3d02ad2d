import { parseDuration, type Duration } from '../core/duration.ts'
import { MillraceError } from '../errors/millrace-error.ts'

/** What a handler may return. Nothing means complete; to throw means that the attempt failed. */
export type JobOutcome = SnoozeOutcome | CancelOutcome | DiscardOutcome

/** Execute the job again later; this attempt is not counted. */
export interface SnoozeOutcome {
  readonly outcome: 'snooze'
  /** From when the database is told. */
  readonly waitMs: number
  readonly reason?: string
}

/** Stop on purpose: nothing is wrong, there is nothing left to do. */
export interface CancelOutcome {
  readonly outcome: 'cancel'
  readonly reason?: string
}

/** Give up: this will never succeed. Like throwing `permanent(…)`, without an error. */
export interface DiscardOutcome {
  readonly outcome: 'discard'
  readonly reason?: string
}

/** Longest snooze: a year. */
export const MAX_SNOOZE_MS: number = 366 * 86_400_000

/**
 * To be returned by a handler: execute this job again after `duration`. The attempt is not counted, so a job may be
 * snoozed for ever; `reason` is shown to people meanwhile.
 *
 * ```ts
 * if (!(await catalog.has(productId, { signal }))) return snooze('30s', 'not in the catalog yet')
 * ```
 * @throws E_CONFIG_INVALID when `duration` is none, or longer than 366 days.
 */
export function snooze(duration: Duration, reason?: string): SnoozeOutcome {
  const waitMs = parseDuration(duration)
  if (waitMs === undefined || waitMs > MAX_SNOOZE_MS) {
    throw new MillraceError(
      'E_CONFIG_INVALID',
      `snooze: expected a duration of at most 366 days, got ${JSON.stringify(duration)}`,
    )
  }
  return withReason({ outcome: 'snooze', waitMs }, reason)
}

/** To be returned by a handler: stop this job on purpose; it ends as `cancelled`. */
export function cancel(reason?: string): CancelOutcome {
  return withReason({ outcome: 'cancel' }, reason)
}

/** To be returned by a handler: give this job up; it ends as `discarded`, whatever attempts are left. */
export function discard(reason?: string): DiscardOutcome {
  return withReason({ outcome: 'discard' }, reason)
}

/** Whether `value` is one of the outcomes above. Whatever else a handler returns means complete. */
export function isJobOutcome(value: unknown): value is JobOutcome {
  if (typeof value !== 'object' || value === null) return false
  const { outcome, waitMs } = value as { outcome?: unknown; waitMs?: unknown }
  if (outcome === 'snooze') return typeof waitMs === 'number'
  return outcome === 'cancel' || outcome === 'discard'
}

function withReason<T extends JobOutcome>(outcome: T, reason: string | undefined): T {
  return Object.freeze(reason === undefined ? outcome : { ...outcome, reason })
}
