import type { Random } from './random.ts'

/** How long to wait before the next attempt. */
export interface BackoffOptions {
  /** Wait after the first failed attempt, in milliseconds. Default 1,000. Bounds 1 … `maxMs`. */
  readonly baseMs?: number
  /** Factor per further attempt. Default 2. Bounds 1 … 10. */
  readonly factor?: number
  /** Longest wait, in milliseconds. Default 3,600,000 (an hour). */
  readonly maxMs?: number
  /** Share of the wait that is drawn at random, 0 … 1. Default 0.25: the wait is between 75 % and 100 % of its full length. */
  readonly jitter?: number
}

/** The defaults of {@link BackoffOptions}. */
export const DEFAULT_BACKOFF: Required<BackoffOptions> = {
  baseMs: 1_000,
  factor: 2,
  maxMs: 3_600_000,
  jitter: 0.25,
}

/**
 * The wait before the attempt after `attempt` (counted from 1), in whole milliseconds, at least 1:
 * `min(maxMs, baseMs · factor^(attempt − 1))`, less up to `jitter` of it. Exponential with proportional jitter, so that
 * what failed together does not come back together, and the promised minimum is never undercut by chance alone.
 */
export function backoffMs(attempt: number, random: Random, options: BackoffOptions = {}): number {
  const { baseMs, factor, maxMs, jitter } = { ...DEFAULT_BACKOFF, ...options }
  const full = Math.min(maxMs, baseMs * factor ** Math.max(0, attempt - 1))
  return Math.max(1, Math.round(full * (1 - jitter * random.next())))
}
