import type { Figures } from './figures.ts'

/** Over how many of the last readings a rate is taken. */
const READINGS = 6

/** The counts whose speed is shown. */
export type Counted = 'purchases' | 'events' | 'handled' | 'jobsCompleted' | 'attemptsFailed'

/** How fast counts grow, over the last seconds. */
export class Rates {
  #readings: readonly Figures[] = []

  /** Takes a reading in; those that could not be read say nothing about speed. */
  add(figures: Figures): void {
    if (figures.database === 'up') this.#readings = [...this.#readings, figures].slice(-READINGS)
  }

  /** Per second; 0 while there is nothing to compare. */
  perSecond(count: Counted): number {
    const first = this.#readings[0]
    const last = this.#readings.at(-1)
    if (first === undefined || last === undefined || first === last) return 0
    const seconds = (Date.parse(last.at) - Date.parse(first.at)) / 1_000
    return seconds > 0 ? (last[count] - first[count]) / seconds : 0
  }
}
