import { backoffMs } from '../core/backoff.ts'
import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { within } from '../core/within.ts'
import type { CommittedPosition, Log } from '../log/port.ts'

/** Options of {@link PositionHints}. */
export interface PositionHintsOptions {
  readonly core: Core
  readonly log: Log
  readonly application: string
  /** Time between two sendings, in milliseconds. Default 1,000. */
  readonly intervalMs?: number
}

/** What has not changed is said again after so many milliseconds: logs forget positions that nobody repeats. */
const REPEAT_MS = 3_600_000
/** Waits before what was not taken is sent again: another program may use the application's name for days. */
const BACKOFF = { baseMs: 1_000, maxMs: 60_000 }
/** How long a partition that is given up waits for its last position to be sent, in milliseconds. */
const LAST_MS = 500

/**
 * Tells the log how far the application has committed, for lag tools that look there: after the row, the newest of each
 * partition, once a second. Nothing depends on it.
 */
export class PositionHints {
  readonly #options: PositionHintsOptions
  readonly #loop: Loop
  readonly #held = new Map<string, CommittedPosition>()
  readonly #changed = new Set<string>()
  #sending: Promise<void> = Promise.resolve()
  #repeatAt: number
  #failures = 0
  #notBefore = 0

  constructor(options: PositionHintsOptions) {
    this.#options = options
    const { core, intervalMs = 1_000 } = options
    this.#repeatAt = core.clock.monotonicMs() + REPEAT_MS
    this.#loop = createLoop({
      clock: core.clock,
      intervalMs,
      turn: () => this.#turn(),
      onError: (error) =>
        core.logger.debug({ error }, 'committed positions could not be passed on'),
    })
  }

  /** Only for logs that take hints. */
  start(): void {
    if (this.#options.log.noteCommitted !== undefined) this.#loop.start()
  }

  /** Notes what was committed, to be sent before long. */
  note({ topic, topicId, partition, next }: CommittedPosition): void {
    const key = `${topicId}/${partition}`
    this.#held.set(key, { topic, topicId, partition, next })
    this.#changed.add(key)
  }

  /** Sends what is left to say of a partition that is given up, if it can be sent soon; and forgets it. */
  async last({ topicId, partition }: Omit<CommittedPosition, 'next'>): Promise<void> {
    const key = `${topicId}/${partition}`
    const { clock } = this.#options.core
    const { signal } = new AbortController()
    if (this.#changed.has(key)) {
      // Too late, it would undo what the next owner says.
      await within(this.#send(), { clock, timeoutMs: LAST_MS, signal }).catch(() => {})
    }
    this.forget({ topicId, partition })
  }

  /** Says nothing more of a partition that somebody else may have by now. */
  forget({ topicId, partition }: Pick<CommittedPosition, 'topicId' | 'partition'>): void {
    const key = `${topicId}/${partition}`
    this.#held.delete(key)
    this.#changed.delete(key)
  }

  async stop(): Promise<void> {
    await this.#loop.stop()
  }

  async #turn(): Promise<undefined> {
    const now = this.#options.core.clock.monotonicMs()
    if (now >= this.#repeatAt) {
      this.#repeatAt = now + REPEAT_MS
      for (const key of this.#held.keys()) this.#changed.add(key)
    }
    if (now >= this.#notBefore) await this.#send()
  }

  /** One sending at a time, so that an older position never comes after a newer one. */
  #send(): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      const { core, log, application } = this.#options
      const positions = [...this.#changed].flatMap((key) => this.#held.get(key) ?? [])
      this.#changed.clear()
      if (positions.length === 0) return
      if ((await log.noteCommitted?.(application, positions)) !== false) {
        this.#failures = 0
        return
      }
      this.#failures += 1
      const { clock, random } = core
      this.#notBefore = clock.monotonicMs() + backoffMs(this.#failures, random, BACKOFF)
      for (const { topicId, partition } of positions) this.#changed.add(`${topicId}/${partition}`)
    })
    return this.#sending
  }
}
