import { setTimeout as sleep } from 'node:timers/promises'

/** Options of {@link eventually}. */
export interface EventuallyOptions {
  /** Time after which it gives up, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number
  /** Time between two checks, in milliseconds. Default 25. */
  readonly intervalMs?: number
}

/**
 * Waits until `check` gives back something truthy, and gives that back. A check that throws is one that is not yet
 * passed; when time is up, its last error is thrown (or one that says so).
 */
export async function eventually<T>(
  check: () => T | Promise<T>,
  options: EventuallyOptions = {},
): Promise<T> {
  const { timeoutMs = 60_000, intervalMs = 25 } = options
  const deadline = performance.now() + timeoutMs
  for (;;) {
    let problem: unknown
    try {
      const result = await check()
      if (result) return result
    } catch (error) {
      // Shown only when it is still the case at the end.
      problem = error
    }
    if (performance.now() >= deadline) {
      throw new Error(`this did not come true within ${timeoutMs} ms: ${check.toString()}`, {
        cause: problem,
      })
    }
    await sleep(intervalMs)
  }
}
