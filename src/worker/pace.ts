/** How far ahead jobs are claimed, as time: what a queue is expected to work off within it. Milliseconds. */
const AHEAD_MS = 100
/** Most jobs that one queue of one process claims ahead; as many more may come that were claimed as they were inserted. */
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
  /** How many jobs there were in this stretch of time and in the one before, and how long they took together. */
  #now = { jobs: 0, totalMs: 0 }
  #before = { jobs: 0, totalMs: 0 }

  constructor(concurrency: number) {
    this.#concurrency = concurrency
  }

  /** Notes how long a job took, or has been running by now if that is longer than expected. */
  note(ms: number): void {
    this.#averageMs =
      this.#averageMs === undefined ? ms : this.#averageMs + (ms - this.#averageMs) * WEIGHT
    this.#now.jobs += 1
    this.#now.totalMs += ms
  }

  /** Begins a new stretch of time, unless there was nothing in this one: what was known last holds on. */
  turn(): void {
    if (this.#now.jobs === 0) return
    this.#before = this.#now
    this.#now = { jobs: 0, totalMs: 0 }
  }

  /** Jobs to hold that have not been started, beside those that fill free places. 0 until something is known. */
  get ahead(): number {
    return this.#averageMs === undefined ? 0 : this.#ahead(this.#averageMs)
  }

  /**
   * As {@link ahead}, told from all jobs of this stretch of time and the one before: one pause of the process, in which all that
   * runs looks slow, throws the moving average for a moment.
   */
  get steadilyAhead(): number {
    const known = this.#now.jobs + this.#before.jobs
    return known === 0 ? 0 : this.#ahead((this.#now.totalMs + this.#before.totalMs) / known)
  }

  #ahead(averageMs: number): number {
    const expected = (this.#concurrency * AHEAD_MS) / Math.max(averageMs, 0.001)
    return Math.min(MAX_BUFFERED, Math.floor(expected))
  }
}
