import type { Clock } from '../core/clock.ts'

/** Options of {@link Reservations}. */
export interface ReservationsOptions {
  readonly clock: Clock
  /** Places that are free and promised to nobody. */
  free(): number
  /** Whether so many jobs are soon through with, and nobody else is there who could begin them earlier. */
  isWorthWaiting(wanted: number): boolean
}

/** How places are asked for. */
export interface ReserveOptions {
  readonly mayWait: boolean
  /** Ends the wait. */
  readonly signal: AbortSignal
}

/**
 * Longest that somebody waits for places, in milliseconds. It ends a wait whose reason has ceased unnoticed; while jobs are
 * fast enough to be worth waiting for, a batch gets its places within a tenth of it.
 */
const MAX_WAIT_MS = 1_000

interface Waiting {
  readonly wanted: number
  grant(places: number): void
}

/** Places of a line that are promised to jobs about to be inserted: first come, first served. */
export class Reservations {
  readonly #options: ReservationsOptions
  readonly #waiting = new Set<Waiting>()
  #promised = 0

  constructor(options: ReservationsOptions) {
    this.#options = options
  }

  /** Places that are promised and not given back. */
  get promised(): number {
    return this.#promised
  }

  /**
   * Promises up to `wanted` places: all of them, or what there is where it may not wait, where that is not worth it, or when
   * `signal` is aborted. Each is to be given back, when its job has taken it or when there is none.
   */
  async ask(wanted: number, { mayWait, signal }: ReserveOptions): Promise<number> {
    if (this.#waiting.size > 0) return mayWait ? this.#wait(wanted, signal) : 0
    const places = mayWait ? this.#grantable(wanted) : this.#there(wanted)
    return places === undefined ? this.#wait(wanted, signal) : this.#promise(places)
  }

  giveBack(places: number): void {
    this.#promised -= places
    this.serve()
  }

  /** There may be free places now, or no reason to wait for them. */
  serve(): void {
    for (const waiting of this.#waiting) {
      const places = this.#grantable(waiting.wanted)
      if (places === undefined) return
      waiting.grant(places)
    }
  }

  #wait(wanted: number, signal: AbortSignal): Promise<number> {
    return new Promise<number>((resolve) => {
      const giveUp = (): void => waiting.grant(this.#there(wanted))
      const cancel = this.#options.clock.after(MAX_WAIT_MS, giveUp)
      signal.addEventListener('abort', giveUp, { once: true })
      const waiting: Waiting = {
        wanted,
        grant: (places) => {
          cancel()
          signal.removeEventListener('abort', giveUp)
          this.#waiting.delete(waiting)
          resolve(this.#promise(places))
        },
      }
      this.#waiting.add(waiting)
      if (signal.aborted) giveUp()
    })
  }

  #grantable(wanted: number): number | undefined {
    const places = this.#there(wanted)
    return places === wanted || !this.#options.isWorthWaiting(wanted) ? places : undefined
  }

  #there(wanted: number): number {
    return Math.max(0, Math.min(wanted, this.#options.free()))
  }

  #promise(places: number): number {
    this.#promised += places
    return places
  }
}
