import { setTimeout as sleep } from 'node:timers/promises'
import type { Millrace } from 'millrace'
import type { Purchase } from '../purchases.ts'
import { TILL_TOPIC, tillRecord } from './till-record.ts'

/** Options of {@link Tills}. */
export interface TillsOptions {
  readonly millrace: Millrace
  readonly purchases: readonly Purchase[]
  /** Purchases per second; 0: none. */
  readonly rate: number
  /** Told once when the tills cannot write, and once when they can again. */
  readonly onTrouble: (error: unknown) => void
  readonly onRecovery: () => void
}

/** Time between two looks at how much is due, in milliseconds. */
const TICK_MS = 50
/** Most purchases of one transaction. */
const BATCH = 1_000
/** Wait after a failure, in milliseconds. */
const TROUBLE_MS = 1_000
const STOP_MS = 3_000

/**
 * The tills: they write one purchase after the other to a topic that millrace knows nothing of. How far they have come
 * is written in the transaction of the records, so that nothing is lost or doubled, however this ends; and several shops
 * on one database take turns.
 */
export class Tills {
  readonly #options: TillsOptions
  readonly #stopping = new AbortController()
  #running: Promise<void> | undefined

  constructor(options: TillsOptions) {
    this.#options = options
  }

  start(): void {
    this.#running ??= this.#run(this.#stopping.signal)
  }

  /** Returns when the transaction at hand has ended, or cannot be ended now: then nobody waits for it. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    const late = new AbortController()
    await Promise.race([this.#running, pause(STOP_MS, late.signal)])
    late.abort()
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { rate, onTrouble, onRecovery } = this.#options
    if (rate === 0) return
    let due = 0
    let last = performance.now()
    let inTrouble = false
    while (!signal.aborted) {
      const now = performance.now()
      // What was due while nobody could write, beyond a second, is not made up for.
      due = Math.min(due + ((now - last) / 1_000) * rate, Math.max(1, rate), BATCH)
      last = now
      try {
        const count = Math.floor(due)
        if (count > 0) await this.#write(count)
        due -= count
        if (inTrouble) onRecovery()
        inTrouble = false
      } catch (error) {
        if (!inTrouble) onTrouble(error)
        inTrouble = true
      }
      await pause(inTrouble ? TROUBLE_MS : TICK_MS, signal)
    }
  }

  async #write(count: number): Promise<void> {
    const { millrace, purchases } = this.#options
    await millrace.transaction(async (tx) => {
      const { rows } = await tx.query<{ first: string }>(
        `/* shop:next-purchases */ update shop_tills.progress set next_purchase = next_purchase + $1
         returning (next_purchase - $1)::text as first`,
        [count],
      )
      const first = Number(rows[0]?.first)
      const records = Array.from({ length: count }, (_, index) => ({
        topic: TILL_TOPIC,
        headers: [],
        ...tillRecord(purchases, first + index),
      }))
      await tx.append(records)
    })
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // Woken early by the stop; the caller looks at the signal.
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}
