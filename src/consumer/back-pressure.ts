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
  #backlog = 0
  #readAt = Number.NEGATIVE_INFINITY
  #reading: Promise<void> | undefined
  #paused = false

  constructor(options: BackPressureOptions) {
    this.#options = options
  }

  /** Notes jobs just made here, so that they count before the number is read again. */
  added(jobs: number): void {
    this.#backlog += jobs
  }

  /** Resolves when records may be read on. Says through `onWaiting` that and why it waits. */
  async ready(signal: AbortSignal, onWaiting: (reason: string | null) => void): Promise<void> {
    const { core, pauseAt, resumeAt, refreshMs = 250 } = this.#options
    await this.#refresh(refreshMs)
    if (!this.#limited()) return
    let said = -1
    while (this.#limited()) {
      if (this.#backlog !== said) {
        said = this.#backlog
        onWaiting(`backlog of ${said} jobs: reading goes on at ${resumeAt} (pauses at ${pauseAt})`)
      }
      await core.clock.sleep(refreshMs, { signal })
      await this.#refresh(refreshMs)
    }
    onWaiting(null)
  }

  #limited(): boolean {
    this.#paused = this.#paused
      ? this.#backlog > this.#options.resumeAt
      : this.#backlog >= this.#options.pauseAt
    return this.#paused
  }

  async #refresh(maxAgeMs: number): Promise<void> {
    const { core, pool, application } = this.#options
    if (core.clock.monotonicMs() - this.#readAt < maxAgeMs) return
    this.#reading ??= readCounts(pool, [METRICS.backlog])
      .then(
        (counts) => {
          this.#backlog = counts.find(({ label }) => label === application)?.value ?? 0
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
