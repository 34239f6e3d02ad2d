import { whenAborted } from '../core/abort.ts'
import type { Clock } from '../core/clock.ts'
import type { ReserveOptions } from '../process/reserve-options.ts'

/** Options of {@link Reservations}. */
export interface ReservationsOptions {
  readonly clock: Clock
  /** Places that are free and promised to nobody. */
  free(): number
  /** Whether so many jobs are soon through with, and nobody else is there who could begin them earlier. */
  isWorthWaiting(wanted: number): boolean
}

/** Longest that somebody waits for places, in milliseconds: others may fill the line as fast as it is worked off. */
const MAX_WAIT_MS = 1_000
/** How long nobody waits after somebody did so for as long and got less than he wanted, in milliseconds. */
const AFTER_A_VAIN_WAIT_MS = 5_000

interface Waiting {
  readonly wanted: number
  grant(places: number): void
}

/** Places of a line that are promised to jobs about to be inserted: first come, first served. */
export class Reservations {
  readonly #options: ReservationsOptions
  readonly #waiting = new Set<Waiting>()
  #promised = 0
  #inVainAtMs = Number.NEGATIVE_INFINITY

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
    const { clock, isWorthWaiting } = this.#options
    this.serve()
    const places = this.#waiting.size > 0 ? 0 : this.#there(wanted)
    const waits =
      mayWait &&
      places < wanted &&
      isWorthWaiting(wanted) &&
      clock.monotonicMs() - this.#inVainAtMs >= AFTER_A_VAIN_WAIT_MS
    return waits ? this.#wait(wanted, signal) : this.#promise(places)
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
      const { clock } = this.#options
      const giveUp = (): void => waiting.grant(this.#there(wanted))
      const cancel = clock.after(MAX_WAIT_MS, () => {
        this.#inVainAtMs = clock.monotonicMs()
        giveUp()
      })
      const stopWaiting = whenAborted(signal, giveUp)
      const waiting: Waiting = {
        wanted,
        grant: (places) => {
          cancel()
          stopWaiting()
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
