import { performance } from 'node:perf_hooks'
import { abortReason, whenAborted } from './abort.ts'

/** The only source of time. Tests may give one that they move by hand. */
export interface Clock {
  /** The wall clock, for stamps that people read. Never used to decide who owns what: that is database time. */
  now(): Date
  /** Milliseconds that only grow, for measuring how long something took. */
  monotonicMs(): number
  /**
   * Waits `ms` milliseconds.
   * @throws the signal's reason, at once, when `signal` is aborted.
   */
  sleep(ms: number, options?: { readonly signal?: AbortSignal }): Promise<void>
  /** Calls `action` once after `ms` milliseconds; the returned function takes it back. Never keeps the process alive. */
  after(ms: number, action: () => void): () => void
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  sleep(ms, { signal } = {}) {
    return new Promise<void>((resolve, reject) => {
      if (signal?.aborted) {
        reject(abortReason(signal))
        return
      }
      const timer = setTimeout(() => {
        stopWaiting?.()
        resolve()
      }, ms)
      const stopWaiting =
        signal &&
        whenAborted(signal, () => {
          clearTimeout(timer)
          reject(abortReason(signal))
        })
    })
  },
  after(ms, action) {
    const timer = setTimeout(action, Math.max(0, ms))
    timer.unref()
    return () => clearTimeout(timer)
  },
}
