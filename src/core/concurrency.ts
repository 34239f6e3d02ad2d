/**
 * Runs `action` over `items`, at most `limit` at once, starting them in order; resolves when all have ended. An action that
 * does not wait gives no promise, and costs none. The first rejection stops further starts and is thrown once those already
 * running have ended.
 */
export async function forEachConcurrently<T>(
  items: Iterable<T>,
  limit: number,
  action: (item: T) => Promise<void> | undefined,
): Promise<void> {
  const iterator = items[Symbol.iterator]()
  let failed = false
  let failure: unknown
  async function lane(): Promise<void> {
    while (!failed) {
      const next = iterator.next()
      if (next.done) return
      try {
        const waiting = action(next.value)
        if (waiting !== undefined) await waiting
      } catch (error) {
        if (!failed) failure = error
        failed = true
      }
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, limit) }, lane))
  if (failed) throw failure
}
