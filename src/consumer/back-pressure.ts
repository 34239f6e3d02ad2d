import type { Core } from '../core/core.ts'
import { METRICS, readCounts } from '../counts/counts.ts'
import type { Pool } from '../postgres/pool.ts'

/** Options of {@link BackPressure}. */
export interface BackPressureOptions {
  readonly core: Core
  readonly pool: Pool
  readonly application: string
  readonly pauseAt: number
  readonly resumeAt: number
  /** Age at which the number is read again, in milliseconds. Default 250. */
  readonly refreshMs?: number
}

/**
 * Keeps an application from making more jobs than are worked off. Two limits, so that it does not flutter: reading
 * waits at `pauseAt` unfinished jobs and goes on at `resumeAt`. The number is the application's own, over all
 * processes; each process may be wrong by what the others made since it last looked.
 */
export class BackPressure {
  readonly #options: BackPressureOptions
  /** As read last, and what was made here since. */
  #read = 0
  #added = 0
  #readAt = Number.NEGATIVE_INFINITY
  #reading: Promise<void> | undefined
  #paused = false

  constructor(options: BackPressureOptions) {
    this.#options = options
  }

  /** Notes jobs just made here, so that they count before the number is read again. */
  added(jobs: number): void {
    this.#added += jobs
  }

  /** Resolves when records may be read on. Says through `onWaiting` that and why it waits. */
  async ready(signal: AbortSignal, onWaiting: (reason: string | null) => void): Promise<void> {
    const { core, pauseAt, resumeAt, refreshMs = 250 } = this.#options
    if (!(await this.#limited(refreshMs))) return
    let said = -1
    do {
      if (this.#backlog !== said) {
        said = this.#backlog
        onWaiting(`backlog of ${said} jobs: reading goes on at ${resumeAt} (pauses at ${pauseAt})`)
      }
      await core.clock.sleep(refreshMs, { signal })
    } while (await this.#limited(refreshMs))
    onWaiting(null)
  }

  get #backlog(): number {
    return this.#read + this.#added
  }

  async #limited(maxAgeMs: number): Promise<boolean> {
    await this.#refresh(maxAgeMs)
    // What was made since may be worked off by now: nobody waits for a guess.
    if (this.#added > 0 && this.#isOver()) await this.#refresh(0)
    this.#paused = this.#isOver()
    return this.#paused
  }

  #isOver(): boolean {
    const { pauseAt, resumeAt } = this.#options
    return this.#paused ? this.#backlog > resumeAt : this.#backlog >= pauseAt
  }

  async #refresh(maxAgeMs: number): Promise<void> {
    const { core, pool, application } = this.#options
    if (core.clock.monotonicMs() - this.#readAt < maxAgeMs) return
    const before = this.#added
    this.#reading ??= readCounts(pool, [METRICS.backlog])
      .then(
        (counts) => {
          // What is made while it is read may be in it or not.
          this.#added -= before
          this.#read = counts.find(({ label }) => label === application)?.value ?? 0
          this.#readAt = core.clock.monotonicMs()
        },
        (error: unknown) => {
          // The batch that follows meets the same database and says so; an old number is good enough until then.
          core.logger.debug({ error }, 'the backlog could not be read')
          this.#readAt = core.clock.monotonicMs()
        },
      )
      .finally(() => {
        this.#reading = undefined
      })
    await this.#reading
  }
}
