import type { RecordContext } from '../consumer/handler.ts'
import type { Core } from '../core/core.ts'
import type { Transaction } from '../postgres/transaction.ts'
import { writeEffects, type SourcedEffects } from '../timeline/effect-rows.ts'
import { addEffect, type DeclaredEffect, type DeclareEffect } from '../timeline/effect.ts'

/** Collects what the handlers of a batch declare, and writes it with one statement before the position moves. */
export class BatchEffects {
  readonly #core: Core
  readonly #waiting = new WeakMap<Transaction, SourcedEffects[]>()

  constructor(core: Core) {
    this.#core = core
  }

  /** What `apply` is given to declare what it did for one event. */
  declare(tx: Transaction, eventId: string, context: RecordContext): DeclareEffect {
    const { application, handler } = context
    let effects: DeclaredEffect[] | undefined
    return (name, details) => {
      if (effects === undefined) {
        effects = []
        this.#of(tx).push({ source: { eventId, application, handler }, effects })
      }
      addEffect(effects, this.#core.clock.now(), name, details)
    }
  }

  #of(tx: Transaction): SourcedEffects[] {
    const known = this.#waiting.get(tx)
    if (known !== undefined) return known
    const waiting: SourcedEffects[] = []
    this.#waiting.set(tx, waiting)
    tx.beforeCommit(async () => {
      this.#waiting.delete(tx)
      await writeEffects(tx, waiting)
    })
    return waiting
  }
}
