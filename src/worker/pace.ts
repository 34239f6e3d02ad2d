/** How far ahead jobs are claimed, as time: what a queue is expected to work off within it. Milliseconds. */
const AHEAD_MS = 100
/** Most jobs that one queue of one process holds without having started them. */
export const MAX_BUFFERED = 1_000
/** Weight of the newest job in the moving average. */
const WEIGHT = 0.05

/**
 * How many jobs to claim ahead: about a thousand when they take microseconds, no more than there are free places when they
 * take seconds, so that other processes are not starved and a crash makes few suspects.
 */
export class Pace {
  readonly #concurrency: number
  /** Moving average of how long a job takes. Undefined: nothing is known yet. */
  #averageMs: number | undefined

  constructor(concurrency: number) {
    this.#concurrency = concurrency
  }

  /** Notes how long a job took, or has been running by now if that is longer than expected. */
  note(ms: number): void {
    this.#averageMs =
      this.#averageMs === undefined ? ms : this.#averageMs + (ms - this.#averageMs) * WEIGHT
  }

  /** Jobs to hold that have not been started, beside those that fill free places. 0 until something is known. */
  get ahead(): number {
    if (this.#averageMs === undefined) return 0
    const expected = (this.#concurrency * AHEAD_MS) / Math.max(this.#averageMs, 0.001)
    return Math.min(MAX_BUFFERED, Math.floor(expected))
  }
}
