import { backoffMs, type BackoffOptions } from '../core/backoff.ts'
import type { Core } from '../core/core.ts'
import type { LogFields } from '../core/logger.ts'
import { classifyDatabaseError } from '../postgres/sqlstate.ts'

const BACKOFF: BackoffOptions = { baseMs: 50, maxMs: 5_000 }
/** How long an item that was refused is put aside. */
const ASIDE_MS = 5_000
/** After so many refusals an item is called out; then again every so many. */
const LOUD_AFTER = 3
const LOUD_EVERY = 60

/** Options of {@link Batcher}. */
export interface BatcherOptions<T> {
  readonly core: Core
  /** For logs: what is written. */
  readonly name: string
  /** Most items of one write. */
  readonly maxBatch: number
  /** Longest that an item waits for company, in milliseconds. */
  readonly maxWaitMs: number
  /** Writes under way at once. */
  readonly maxInFlight: number
  /** Writes a batch, or throws. `repeated`: an earlier try may have got through without our hearing of it. */
  write(batch: readonly T[], repeated: boolean): Promise<void>
  /** For logs: which item it is. */
  describe(item: T): LogFields
  /** Told when items are through with. */
  onWritten(batch: readonly T[]): void
}

/**
 * Gathers items and writes them in batches, until each is written.
 *
 * An item leaves by being written, never by failing: while the database is away the write is repeated with back-off and
 * the items are held, so whoever adds must look at `size` and stop in time. A batch that is refused for what is in it is
 * written in halves, so that one bad item holds up nothing but itself; it is put aside and tried again every few seconds,
 * and called out as an error when that does not help.
 *
 * Modes: open → (abandon) → abandoned: writes that fail are no longer repeated, what is left is dropped.
 */
export class Batcher<T> {
  readonly #options: BatcherOptions<T>
  readonly #abandoned = new AbortController()
  #pending: T[] = []
  #size = 0
  /** How often each item that is put aside now and then was refused. */
  readonly #refused = new Map<T, number>()
  #inFlight = 0
  #cancelTimer: (() => void) | undefined
  #onEmpty: (() => void)[] = []

  constructor(options: BatcherOptions<T>) {
    this.#options = options
  }

  /** Items that are not written yet. */
  get size(): number {
    return this.#size
  }

  /** How many of them were refused when last tried. */
  get refused(): number {
    return this.#refused.size
  }

  add(item: T): void {
    this.#pending.push(item)
    this.#size += 1
    if (this.#pending.length >= this.#options.maxBatch) this.flush()
    else this.#cancelTimer ??= this.#options.core.clock.after(this.#options.maxWaitMs, this.flush)
  }

  /** Writes what has gathered as soon as a write may begin, without waiting for company. */
  readonly flush = (): void => {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    while (this.#pending.length > 0 && this.#inFlight < this.#options.maxInFlight) {
      const batch = this.#pending.splice(0, this.#options.maxBatch)
      this.#inFlight += 1
      void this.#writeAll(batch)
    }
  }

  /** Resolves when everything added so far is written or dropped. */
  empty(): Promise<void> {
    if (this.#size === 0) return Promise.resolve()
    this.flush()
    return new Promise((resolve) => {
      this.#onEmpty.push(resolve)
    })
  }

  /** Gives up what cannot be written now. Returns what was dropped, as far as it was not under way. */
  abandon(): number {
    const dropped = this.#pending.length
    for (const item of this.#pending) this.#refused.delete(item)
    this.#pending = []
    this.#abandoned.abort()
    this.#through(dropped)
    return dropped
  }

  async #writeAll(batch: readonly T[]): Promise<void> {
    const aside = await this.#write(batch)
    this.#inFlight -= 1
    const through = aside.length === 0 ? batch : batch.filter((item) => !aside.includes(item))
    for (const item of through) this.#refused.delete(item)
    for (const item of aside) this.#refuse(item)
    this.#through(through.length)
    this.#options.onWritten(through)
    if (aside.length > 0) {
      this.#options.core.clock.after(ASIDE_MS, () => {
        this.#pending.push(...aside)
        if (this.#abandoned.signal.aborted) this.abandon()
        this.flush()
      })
    }
    this.flush()
  }

  /** Never rejects. Returns what is to be tried again later. */
  async #write(batch: readonly T[]): Promise<readonly T[]> {
    const { core, name } = this.#options
    for (let tries = 0; ; tries += 1) {
      try {
        await this.#options.write(batch, tries > 0)
        return []
      } catch (error) {
        if (this.#abandoned.signal.aborted) {
          core.logger.error(
            { error, name, items: batch.length },
            'results were given up; their jobs will be rescued',
          )
          return []
        }
        core.logger.warn(
          { error, name, items: batch.length, tries },
          'results could not be written yet',
        )
        const failure = classifyDatabaseError(error)
        if (failure !== 'unavailable' && failure !== 'conflict') {
          if (batch.length === 1) return batch
          const half = Math.ceil(batch.length / 2)
          return [
            ...(await this.#write(batch.slice(0, half))),
            ...(await this.#write(batch.slice(half))),
          ]
        }
        const waitMs = backoffMs(Math.min(tries + 1, 20), core.random, BACKOFF)
        // Ends at once when abandoned, for one last try.
        await core.clock.sleep(waitMs, { signal: this.#abandoned.signal }).catch(() => {})
      }
    }
  }

  #refuse(item: T): void {
    const { core, name, describe } = this.#options
    const refusals = (this.#refused.get(item) ?? 0) + 1
    this.#refused.set(item, refusals)
    if (refusals !== LOUD_AFTER && refusals % LOUD_EVERY !== 0) return
    core.logger.error(
      { ...describe(item), name, refusals },
      'a result is refused again and again; its job stays as it is until it can be written',
    )
  }

  #through(items: number): void {
    this.#size -= items
    if (this.#size > 0) return
    const waiting = this.#onEmpty
    this.#onEmpty = []
    for (const resolve of waiting) resolve()
  }
}
