/** Priorities of a queue, 0 first. */
export const PRIORITIES = 10

/**
 * From where on a queue is looked through: per priority the lowest place at which a job may still be waiting. Without
 * it, every claim would walk over the dead index entries of all jobs before, which stay for as long as anybody holds an
 * old snapshot.
 *
 * A claim that took places up to *m* raises the frontier to *m* + 1. What it may pass by doing so, and who finds that:
 * - a row that another transaction drew a place for and has not committed: its wake-up carries the place and lowers the
 *   frontier; without a wake-up, the next sweep finds it;
 * - a row that another worker's claim had locked and then rolled back, or whose claim was lost with the server: sweep;
 * - a row handed back under its old place: wake-up, or sweep.
 *
 * A wake-up may arrive while a claim is under way whose snapshot is older than what the wake-up is about. Were it simply
 * applied, the claim's reply would raise the frontier over it. So a claim raises nothing over what was lowered while it
 * was under way, be it by a wake-up or by a sweep; only one that began afterwards does. See {@link ClaimReading}.
 */
export class Frontier {
  readonly #places: number[] = Array.from({ length: PRIORITIES }, () => 0)
  readonly #open = new Set<{ lowest: number }>()

  /** The lowest places, by priority. */
  get places(): readonly number[] {
    return this.#places
  }

  /** Says that a claim is about to be made from the present places. */
  read(): ClaimReading {
    const reading = { lowest: Number.POSITIVE_INFINITY }
    this.#open.add(reading)
    return {
      end: (highest, exhausted, horizon) => {
        this.#open.delete(reading)
        for (let priority = 0; priority < PRIORITIES; priority += 1) {
          const taken = highest[priority]
          let place = this.#places[priority] as number
          if (taken !== undefined) place = Math.max(place, taken + 1)
          if (horizon !== undefined && exhausted(priority)) place = Math.max(place, horizon)
          // What was lowered meanwhile stays, unless a claim made since has raised it again.
          const known = this.#places[priority] as number
          this.#places[priority] = Math.max(known, Math.min(place, reading.lowest))
        }
      },
      abandon: () => {
        this.#open.delete(reading)
      },
    }
  }

  /** Jobs may be waiting from `place` on, in whatever priority. */
  lower(place: number): void {
    for (let priority = 0; priority < PRIORITIES; priority += 1) {
      if ((this.#places[priority] as number) > place) this.#places[priority] = place
    }
    for (const reading of this.#open) reading.lowest = Math.min(reading.lowest, place)
  }

  /** Begins a sweep: the next claims look from the bottom, whatever those under way reply. */
  sweep(): void {
    this.lower(0)
  }
}

/** A claim under way, as the frontier sees it. */
export interface ClaimReading {
  /**
   * The claim has replied.
   * @param highest by priority, the highest place it took
   * @param exhausted whether it looked through all of a priority
   * @param horizon a place that had not been drawn yet before the claim began, if that was asked
   */
  end(
    highest: readonly (number | undefined)[],
    exhausted: (priority: number) => boolean,
    horizon: number | undefined,
  ): void
  /** The claim failed. */
  abandon(): void
}
