import type { Reservation } from './handler.ts'
import type { BoundHandler, Item } from './step.ts'

/** What the handlers of one batch have reserved before its transaction; given back when the batch is through. */
export class BatchReservations implements Disposable {
  readonly #byHandler = new Map<BoundHandler, Reservation>()

  /** Has every handler that reserves do so, for the records that are about to come to it. */
  async make(items: readonly Item[], signal: AbortSignal): Promise<void> {
    const records = new Map<BoundHandler, number>()
    for (const { steps } of items) {
      for (const { handler, failure, skipped } of steps) {
        if (handler.run.reserve === undefined) continue
        if (failure === undefined && skipped === undefined)
          records.set(handler, (records.get(handler) ?? 0) + 1)
      }
    }
    for (const [handler, count] of records) {
      const reservation = await handler.run.reserve?.(count, signal)
      if (reservation !== undefined) this.#byHandler.set(handler, reservation)
    }
  }

  of(handler: BoundHandler): Reservation | undefined {
    return this.#byHandler.get(handler)
  }

  [Symbol.dispose](): void {
    for (const reservation of this.#byHandler.values()) reservation[Symbol.dispose]()
  }
}
