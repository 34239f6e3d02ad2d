/** How places are asked for, with the workers of this process, by what is about to make jobs. */
export interface ReserveOptions {
  /** Whether it may wait for places, as long as it takes to be worth it. */
  readonly mayWait: boolean
  /** Ends the wait. */
  readonly signal: AbortSignal
}
