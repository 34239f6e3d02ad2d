import type { Reservation } from './handler.ts'
import type { BoundHandler, Item } from './step.ts'

/** What the handlers of one batch have reserved before its transaction; given back when the batch is through, or has failed once. */
export class BatchReservations implements Disposable {
  readonly #byHandler = new Map<BoundHandler, Reservation>()

  /**
   * Has every handler that reserves do so, for the records that are about to come to it. It may wait if it is the only handler:
   * not with something reserved in its hands, which others may be waiting for, nor at the cost of what others are to do.
   */
  async make(items: readonly Item[], signal: AbortSignal): Promise<void> {
    const records = new Map<BoundHandler, number>()
    for (const { steps } of items) {
      for (const { handler, failure, skipped } of steps) {
        if (failure === undefined && skipped === undefined)
          records.set(handler, (records.get(handler) ?? 0) + 1)
      }
    }
    const mayWait = records.size === 1
    for (const [handler, count] of records) {
      const reservation = await handler.run.reserve?.(count, { mayWait, signal })
      if (reservation !== undefined) this.#byHandler.set(handler, reservation)
    }
  }

  of(handler: BoundHandler): Reservation | undefined {
    return this.#byHandler.get(handler)
  }

  [Symbol.dispose](): void {
    for (const reservation of this.#byHandler.values()) reservation[Symbol.dispose]()
    this.#byHandler.clear()
  }
}
