import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { isWhole, Problems } from '../errors/config.ts'
import type { FinishHooks } from '../jobs/finished.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import type { Duty } from './duty.ts'
import { fold } from './fold.ts'
import { releaseLease, takeLease } from './lease.ts'
import { ensureDays, prune } from './prune.ts'
import { rescue } from './rescue.ts'
import { stage } from './stage.ts'

/** Options of {@link Upkeep}. */
export interface UpkeepOptions {
  readonly core: Core
  /** Uses up to 3 of its connections, mostly one. */
  readonly pool: Pool
  /** Started by whoever made it; its id is who leads. */
  readonly heartbeat: Pick<Heartbeat, 'id' | 'alive'>
  readonly waker: JobWaker
  /** Told of jobs that a crash discards or that end while nobody holds them, in the same transaction. */
  readonly hooks?: FinishHooks
  /** What the leader does beside its own duties. Default nothing. */
  readonly duties?: readonly Duty[]
  /** Days (UTC) that finished jobs, attempts and batches are kept, beside today. Default 7. Bounds 1 … 3,650. */
  readonly historyDays?: number
  /** How long a leader that is silent leads on, in milliseconds. Default 10,000. Bounds 300 … 600,000. Renewed at a third of it. */
  readonly leaseMs?: number
}

const DUTIES: readonly Duty[] = [stage, rescue, fold, ensureDays, prune]

/**
 * What somebody has to do for all processes: stage due jobs, rescue those of dead processes, make and drop days of
 * history, fold counts. One process leads, by a lease in database time; the others look after it.
 *
 * Modes: following ⇄ leading → stopped. Each duty has a loop of its own, so that none is held up by another; its turns do
 * nothing while following.
 */
export class Upkeep {
  readonly #options: UpkeepOptions & { readonly leaseMs: number }
  readonly #lease: Loop
  readonly #loops: readonly Loop[]
  readonly #stopping = new AbortController()
  /** By the monotonic clock: until when we lead. */
  #leadsUntilMs = Number.NEGATIVE_INFINITY
  #term = 0

  /** @throws E_CONFIG_INVALID */
  constructor(options: UpkeepOptions) {
    const leaseMs = options.leaseMs ?? 10_000
    const historyDays = options.historyDays ?? 7
    const problems = new Problems('upkeep')
    problems.expect(
      isWhole(historyDays, 1, 3_650),
      'historyDays',
      'a whole number from 1 to 3650',
      historyDays,
    )
    problems.expect(
      isWhole(leaseMs, 300, 600_000),
      'leaseMs',
      'a whole number from 300 to 600000',
      leaseMs,
    )
    problems.throwIfAny()
    this.#options = { ...options, leaseMs }
    const { core, pool, waker, hooks = {} } = options
    const parts = { core, pool, waker, hooks, historyDays }
    this.#lease = createLoop({
      clock: core.clock,
      intervalMs: Math.floor(leaseMs / 3),
      turn: () => this.#lead(),
      onError: (error) => core.logger.warn({ error }, 'the lease of upkeep could not be asked for'),
    })
    this.#loops = [...DUTIES, ...(options.duties ?? [])].map((duty) =>
      createLoop({
        clock: core.clock,
        intervalMs: duty.intervalMs,
        turn: async () => {
          if (!this.leads) return undefined
          return duty.run(parts, this.#stopping.signal)
        },
        onError: (error) => core.logger.warn({ error, duty: duty.name }, 'a duty of upkeep failed'),
      }),
    )
  }

  /** Whether this process does the upkeep. Ends, by our own clock, before the database lets anybody else in. */
  get leads(): boolean {
    return this.#options.core.clock.monotonicMs() < this.#leadsUntilMs
  }

  start(): void {
    this.#lease.start()
    for (const loop of this.#loops) loop.start()
  }

  /** Ends the duties under way, between two batches, and gives the lease back. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all([this.#lease.stop(), ...this.#loops.map((loop) => loop.stop())])
    if (!this.leads) return
    this.#leadsUntilMs = Number.NEGATIVE_INFINITY
    const { core, pool, heartbeat } = this.#options
    await releaseLease(pool, heartbeat.id).catch((error: unknown) => {
      core.logger.warn(
        { error },
        'the lease of upkeep could not be given back; it runs out by itself',
      )
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #lead(): Promise<undefined> {
    const { core, pool, heartbeat, leaseMs } = this.#options
    if (!heartbeat.alive) return
    const askedMs = core.clock.monotonicMs()
    const lease = await takeLease(pool, heartbeat.id, leaseMs)
    if (lease === undefined) {
      this.#leadsUntilMs = Number.NEGATIVE_INFINITY
      return
    }
    const led = this.leads
    this.#leadsUntilMs = askedMs + leaseMs
    if (led && lease.term === this.#term) return
    this.#term = lease.term
    core.logger.info({ term: lease.term }, 'this process does the upkeep now')
    for (const loop of this.#loops) loop.wake()
  }
}
