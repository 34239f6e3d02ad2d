import { CancelReason, StopReason } from '../core/abort.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { cancelJobs } from '../jobs/cancel.ts'
import { parseJobsWake } from '../jobs/wake.ts'
import type { ReserveOptions } from '../process/reserve-options.ts'
import { askedToCancel } from './cancellation.ts'
import { readHorizon } from './claim.ts'
import type { ClaimAtInsert } from './claim-at-insert.ts'
import { Executor } from './executor.ts'
import { Finisher } from './finisher.ts'
import { HeldClaims } from './held.ts'
import { Line } from './line.ts'
import { handBackLostClaims } from './lost-claims.ts'
import { fillWorkerOptions, type FilledWorkerOptions, type WorkerOptions } from './options.ts'
import { CANCELLED, HANDED_BACK } from './result.ts'
import { Suspects } from './suspects.ts'

/** How long handlers have to react when they are told to stop, in milliseconds; beyond the grace period. */
const REACTION_MS = 1_000
/** How long a stop goes on trying to write results, in milliseconds. */
const LAST_WRITES_MS = 5_000
/** Sweeps between two looks for lost claims. */
const LOST_CLAIMS_EVERY = 10
/** A sweep may take up this share of the time, so that a long row of dead entries does not keep the database busy. */
const SWEEP_SHARE = 0.05
/** Jobs running for this long are asked about, in case the wake-up of a cancellation was lost. */
const ASK_CANCEL_AFTER_MS = 1_000

/**
 * Claims jobs, executes them, and writes down what became of them.
 *
 * Modes: idle → (start) → working → (stop) → draining → stopped.
 * Working: claims ahead per queue, executes, finishes in batches. Draining: nothing is claimed or started; what was not
 * started is handed back; what runs may end within the grace period, is then aborted, and keeps its attempt. While the
 * heartbeat does not get through, or too many results are unwritten, nothing is started, and everything else goes on.
 * When the heartbeat has lapsed, what is buffered is dropped, for it is somebody else's; what runs goes on, up to the fence.
 */
export class Worker {
  readonly #options: FilledWorkerOptions
  readonly #held = new HeldClaims()
  readonly #finisher: Finisher
  readonly #executor: Executor
  readonly #lines = new Map<string, Line>()
  readonly #suspects: Suspects
  readonly #loop: Loop
  readonly #unsubscribe: (() => void)[] = []
  #sweeps = 0
  #claimWasLost = false
  #started = false
  #stopping = false
  #stopped: Promise<void> | undefined
  #endGrace = new AbortController()

  /** @throws E_CONFIG_INVALID */
  constructor(options: WorkerOptions) {
    this.#options = fillWorkerOptions(options)
    const { core, pool, heartbeat, waker, hooks, publisher, definitions, queues } = this.#options
    const { pollMs, transactionMs } = this.#options.limits
    const held = this.#held
    this.#finisher = new Finisher({
      core,
      pool,
      waker,
      hooks,
      onWritten: (jobs) => {
        const wasFull = !this.#hasRoom(jobs.length)
        for (const job of jobs) {
          held.release(job)
          this.#suspects.written(job)
        }
        if (wasFull) this.#startAll()
      },
    })
    const finisher = this.#finisher
    this.#executor = new Executor({
      core,
      pool,
      waker,
      hooks,
      publisher,
      transactionMs,
      definitions,
      finisher,
      onIdle: () => {
        finisher.flush()
      },
    })
    const parts = {
      core,
      pool,
      waker,
      heartbeat,
      held,
      finisher,
      executor: this.#executor,
      kinds: [...definitions.keys()],
      isOpen: () => !this.#stopping && this.#started && heartbeat.alive && this.#hasRoom(0),
      isStopping: () => this.#stopping,
      onLostClaim: () => {
        this.#claimWasLost = true
      },
    }
    for (const [queue, concurrency] of queues) {
      this.#lines.set(queue, new Line({ ...parts, queue, concurrency }))
    }
    this.#suspects = new Suspects({ ...parts, queues: [...queues.keys()] })
    this.#loop = createLoop({
      clock: core.clock,
      intervalMs: pollMs,
      turn: () => this.#poll(),
      onError: (error) => core.logger.warn({ error }, 'jobs could not be polled for'),
    })
  }

  /** Begins to claim and execute. Only the first call counts. */
  start(): void {
    if (this.#started || this.#stopping) return
    this.#started = true
    const { listener, heartbeat } = this.#options
    this.#unsubscribe.push(
      listener.on('jobs', (text) => this.#onJobs(text)),
      listener.on('cancel', (text) => this.#onCancel(text)),
      heartbeat.onLapse(() => this.#onLapse()),
    )
    this.#loop.start()
  }

  /**
   * Promises places for up to `wanted` jobs that somebody in this process is about to insert: see `Line.reserve`. Undefined:
   * none, for it does not execute such jobs.
   */
  async reserve(
    { queue, kind }: { readonly queue: string; readonly kind: string },
    wanted: number,
    options: ReserveOptions,
  ): Promise<ClaimAtInsert | undefined> {
    if (!this.#options.definitions.has(kind)) return undefined
    return this.#lines.get(queue)?.reserve(wanted, options)
  }

  /**
   * Drains: running jobs may end within `graceMs` milliseconds (default 10,000), are then aborted with a `StopReason`,
   * and keep their attempt. A second call with a shorter time shortens it: `stop(0)` means now. Resolves when all results
   * are written, or given up because the database has been away for 5 s.
   */
  async stop(graceMs = 10_000): Promise<void> {
    if (graceMs <= 0) this.#endGrace.abort(new StopReason())
    else if (this.#stopped !== undefined) {
      this.#options.core.clock.after(graceMs, () => this.#endGrace.abort(new StopReason()))
    }
    this.#stopped ??= this.#drain(graceMs)
    await this.#stopped
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #drain(graceMs: number): Promise<void> {
    const { core } = this.#options
    this.#stopping = true
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe()
    const polling = this.#loop.stop()
    if (!this.#started) return
    for (const line of this.#lines.values()) {
      for (const job of line.withdraw(() => true)) this.#finisher.add(job, HANDED_BACK)
    }
    this.#finisher.flush()
    await this.#until(() => this.#executor.size === 0, graceMs, this.#endGrace.signal)
    if (this.#executor.size > 0) {
      core.logger.info(
        { running: this.#executor.size },
        'the grace period is over; running jobs are told to stop',
      )
      this.#executor.abort(new StopReason())
      await this.#until(
        () => this.#executor.size === 0,
        graceMs <= 0 ? REACTION_MS / 10 : REACTION_MS,
      )
      this.#executor.interruptRest()
    }
    this.#executor.stop()
    // A claim that is still under way hands back what it gets.
    await this.#until(() => !this.#isClaiming(), LAST_WRITES_MS)
    const written = Promise.all([this.#finisher.empty(), polling]).then(() => true)
    const waiting = new AbortController()
    const { signal } = waiting
    const late = core.clock.sleep(LAST_WRITES_MS, { signal }).then(
      () => false,
      () => true,
    )
    const inTime = await Promise.race([written, late])
    waiting.abort()
    if (!inTime) {
      const dropped = this.#finisher.abandon()
      core.logger.error(
        { dropped },
        'the database did not take the last results; their jobs will be rescued',
      )
    }
  }

  /** Waits until `done`, looking often, at most `ms`. */
  async #until(done: () => boolean, ms: number, signal?: AbortSignal): Promise<void> {
    const { clock } = this.#options.core
    const until = clock.monotonicMs() + ms
    while (!done() && clock.monotonicMs() < until && !signal?.aborted) {
      await clock.sleep(Math.min(10, ms))
    }
  }

  #isClaiming(): boolean {
    return this.#suspects.isClaiming || [...this.#lines.values()].some((line) => line.isClaiming)
  }

  /** A few results that are refused for what is in them must not end all work; but many of them must. */
  #hasRoom(extra: number): boolean {
    const { maxUnwritten } = this.#options.limits
    const spared = Math.min(this.#finisher.refused, maxUnwritten / 2)
    return this.#finisher.size - spared + extra < maxUnwritten
  }

  #startAll(): void {
    for (const line of this.#lines.values()) line.start()
  }

  async #poll(): Promise<number> {
    const { core, pool, heartbeat, hooks, limits, waker } = this.#options
    if (!heartbeat.alive) return limits.pollMs
    const horizon = await readHorizon(pool)
    for (const line of this.#lines.values()) {
      line.shorten()
      line.sweep(horizon)
    }
    this.#suspects.look()
    const cancelled = this.#executor.runningFor(ASK_CANCEL_AFTER_MS)
    if (cancelled.length > 0) this.#cancel(await askedToCancel(pool, cancelled))
    this.#sweeps += 1
    if (this.#claimWasLost || this.#sweeps % LOST_CLAIMS_EVERY === 0) {
      this.#claimWasLost = false
      const { wakes, cancelAsked } = await handBackLostClaims(pool, heartbeat.id, this.#held)
      waker.wake(wakes)
      if (cancelAsked.length > 0) await cancelJobs({ core, pool, hooks }, cancelAsked)
    }
    const sweepMs = Math.max(0, ...[...this.#lines.values()].map((line) => line.sweepMs))
    // Not in step with the other processes.
    return Math.max(limits.pollMs * (0.9 + 0.2 * core.random.next()), sweepMs / SWEEP_SHARE)
  }

  #onJobs(text: string): void {
    if (text === '') {
      // Whatever was said while nobody listened is lost.
      this.#loop.wake()
      return
    }
    const wake = parseJobsWake(text)
    if (wake !== undefined) this.#lines.get(wake.queue)?.wake(wake.place)
  }

  #onCancel(text: string): void {
    if (text === '') this.#loop.wake()
    else this.#cancel(text.split(','))
  }

  #cancel(ids: readonly string[]): void {
    if (ids.length === 0) return
    const wanted = new Set(ids)
    this.#executor.abort(new CancelReason(), (id) => wanted.has(id))
    for (const line of this.#lines.values()) {
      for (const job of line.withdraw(({ id }) => wanted.has(id)))
        this.#finisher.add(job, CANCELLED)
    }
  }

  #onLapse(): void {
    for (const line of this.#lines.values()) {
      for (const job of line.withdraw(() => true)) this.#held.release(job)
    }
    this.#loop.wake()
  }
}
