import { TimeoutReason, abortReason, whenAborted } from './abort.ts'
import type { Clock } from './clock.ts'

/** Options of {@link within}. */
export interface WithinOptions {
  readonly clock: Clock
  /** Longest wait, in milliseconds. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** Told why, just before the wait is given up. */
  readonly onGiveUp?: (reason: Error) => void
}

/**
 * Waits for `result`, no longer than `timeoutMs` and no longer than the signal allows. What comes afterwards is ignored,
 * a rejection too.
 * @throws TimeoutReason, or the signal's reason.
 */
export function within<T>(result: PromiseLike<T>, options: WithinOptions): Promise<T> {
  const { clock, timeoutMs, signal, onGiveUp } = options
  return new Promise<T>((resolve, reject) => {
    const end = (): void => {
      cancel()
      stopWaiting()
    }
    const giveUp = (reason: Error): void => {
      end()
      onGiveUp?.(reason)
      reject(reason)
    }
    const onAbort = (): void => giveUp(abortReason(signal))
    const cancel = clock.after(timeoutMs, () => giveUp(new TimeoutReason(Math.round(timeoutMs))))
    const stopWaiting = whenAborted(signal, onAbort)
    if (signal.aborted) {
      onAbort()
      return
    }
    result.then(
      (value) => {
        end()
        resolve(value)
      },
      (error: Error) => {
        end()
        reject(error)
      },
    )
  })
}
