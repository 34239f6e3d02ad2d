import type { Core } from '../core/core.ts'
import { wake } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'

/** That jobs may be claimed in a queue, from a place in line on. */
export interface QueueWake {
  readonly queue: string
  /** The lowest place of theirs. A `number` holds places exactly up to 9·10¹⁵. */
  readonly place: number
}

/** Options of {@link JobWaker}. */
export interface JobWakerOptions {
  readonly core: Core
  readonly pool: Pool
  /** Least time between two sendings, in milliseconds; what comes meanwhile goes out together. Default 10. Bounds 0 … 1,000. */
  readonly intervalMs?: number
}

/**
 * Tells the workers of all processes that jobs may be claimed. Coalesced: one wake-up per queue and interval, with the
 * lowest place; the first goes out at once. A wake-up that cannot be sent is dropped, for polling finds the jobs.
 */
export class JobWaker {
  readonly #core: Core
  readonly #pool: Pool
  readonly #intervalMs: number
  readonly #places = new Map<string, number>()
  #sending: Promise<void> | undefined

  constructor(options: JobWakerOptions) {
    this.#core = options.core
    this.#pool = options.pool
    this.#intervalMs = options.intervalMs ?? 10
  }

  /** To be called after the commit that made the jobs claimable, never inside the transaction. */
  wake(wakes: readonly QueueWake[]): void {
    for (const { queue, place } of wakes) {
      const known = this.#places.get(queue)
      if (known === undefined || place < known) this.#places.set(queue, place)
    }
    if (this.#places.size > 0) this.#sending ??= this.#send()
  }

  /** Resolves when everything has been sent. */
  async idle(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending
  }

  async #send(): Promise<void> {
    // Not before the caller's turn has ended: what it inserts one by one belongs together.
    await Promise.resolve()
    while (this.#places.size > 0) {
      const places = [...this.#places]
      this.#places.clear()
      for (const [queue, place] of places) {
        await wake(this.#pool, 'jobs', formatJobsWake({ queue, place })).catch((error: unknown) => {
          this.#core.logger.debug(
            { error, queue },
            'a wake-up could not be sent; polling finds the jobs',
          )
        })
      }
      await this.#core.clock.sleep(this.#intervalMs)
    }
    this.#sending = undefined
  }
}

/** The text of a wake-up about jobs. */
export function formatJobsWake({ queue, place }: QueueWake): string {
  return `${place}:${queue}`
}

/** The inverse of {@link formatJobsWake}; `undefined` for the empty text, which means: look everywhere. */
export function parseJobsWake(text: string): QueueWake | undefined {
  const colon = text.indexOf(':')
  const place = Number(text.slice(0, colon))
  if (colon < 1 || !Number.isSafeInteger(place)) return undefined
  return { place, queue: text.slice(colon + 1) }
}
