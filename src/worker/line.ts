import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import type { ReserveOptions } from '../process/reserve-options.ts'
import { Buffer } from './buffer.ts'
import { ClaimAtInsert } from './claim-at-insert.ts'
import { claimJobs } from './claim.ts'
import type { ClaimedJob } from './claimed-job.ts'
import type { Executor, Slot } from './executor.ts'
import type { Finisher } from './finisher.ts'
import { Frontier } from './frontier.ts'
import type { HeldClaims } from './held.ts'
import { Pace } from './pace.ts'
import { Reservations } from './reservations.ts'
import { HANDED_BACK } from './result.ts'

/** Options of {@link Line}. */
export interface LineOptions {
  readonly core: Core
  readonly pool: Pool
  readonly waker: Pick<JobWaker, 'wake'>
  readonly heartbeat: Pick<Heartbeat, 'id' | 'alone'>
  readonly held: HeldClaims
  readonly executor: Executor
  readonly finisher: Finisher
  readonly queue: string
  readonly kinds: readonly string[]
  readonly concurrency: number
  /** Whether anything may be started now. */
  isOpen(): boolean
  isStopping(): boolean
  /** Told when a claim failed: its jobs may be ours without our knowing. */
  onLostClaim(): void
}

/** Most jobs of one claim. */
const MAX_CLAIM = 500
/** Claims of one queue under way at once: while one is executed, the next is fetched. */
const MAX_CLAIMS = 2
/** How long handlers may be started before the event loop gets its turn, in milliseconds. */
const TURN_MS = 10

/**
 * One queue of one worker: claims ahead into a buffer, and starts what is in it as places become free.
 *
 * It claims only while there may be something to claim: after a wake-up, at a sweep, and for as long as claims come back
 * full.
 */
export class Line implements Slot {
  readonly #options: LineOptions
  readonly #frontier = new Frontier()
  readonly #buffer = new Buffer()
  readonly #pace: Pace
  readonly #reservations: Reservations
  #horizon: number | undefined
  #running = 0
  #claims = 0
  #incoming = 0
  #more = false
  /** Whether nobody knows what stands in the line: nothing has been claimed yet, or the last claim failed. */
  #unsure = true
  /** Claims of inserts that have not been heard of yet. */
  #inserting = 0
  #starting = false
  #turnBeganMs: number | undefined
  #isSweep = false
  #sweepMs = 0

  constructor(options: LineOptions) {
    this.#options = options
    this.#pace = new Pace(options.concurrency)
    this.#reservations = new Reservations({
      clock: options.core.clock,
      free: () => this.#free(),
      isWorthWaiting: (wanted) =>
        options.heartbeat.alone && !options.isStopping() && wanted <= this.#capacity(),
    })
  }

  /** Jobs that were claimed and not started. */
  get buffered(): number {
    return this.#buffer.size
  }

  /** Whether a claim is under way. */
  get isClaiming(): boolean {
    return this.#claims > 0 || this.#inserting > 0
  }

  /** How long the last claim from the bottom took, in milliseconds. */
  get sweepMs(): number {
    return this.#sweepMs
  }

  /** There may be jobs from `place` on. */
  wake(place: number): void {
    this.#frontier.lower(place)
    this.#more = true
    this.start()
  }

  /** Looks from the bottom, in case something was passed by. `horizon`: a place not drawn yet when it was asked for. */
  sweep(horizon: number): void {
    this.#frontier.sweep()
    this.#horizon = horizon
    this.#isSweep = true
    this.#more = true
    this.#pace.turn()
    for (const ms of this.#options.executor.agesIn(this)) this.#pace.note(ms)
    this.start()
  }

  /** A handler has returned. */
  ended(ms: number): void {
    this.#running -= 1
    this.#pace.note(ms)
    this.start()
  }

  /**
   * Promises places for up to `wanted` jobs of one insert, which are then claimed with it. None while anything may be waiting
   * in the line: it comes first. Where jobs are through with in no time and no other process is there to share them, their
   * maker waits for places rather than to fill the line, for a job that never stood in it costs a third less.
   */
  async reserve(wanted: number, options: ReserveOptions): Promise<ClaimAtInsert> {
    const { core, heartbeat, held, onLostClaim, waker } = this.#options
    // Who wants more fills the line in any case.
    const mayWait = options.mayWait && wanted <= MAX_CLAIM
    const places = await this.#reservations.ask(Math.min(wanted, MAX_CLAIM), {
      ...options,
      mayWait,
    })
    return new ClaimAtInsert({
      waker,
      places,
      giveBack: (count) => this.#reservations.giveBack(count),
      room: () => Math.max(0, this.#room()),
      begin: () => {
        this.#inserting += 1
        const claim = { token: core.ids.uuid(), processId: heartbeat.id }
        held.begin(claim.token)
        return claim
      },
      waits: (place) => {
        this.#frontier.lower(place)
        this.#more = true
      },
      took: (claim, jobs) => {
        this.#inserting -= 1
        held.end(claim.token, jobs.length)
        this.#take(jobs, claim.processId)
        this.start()
      },
      lost: (token) => {
        this.#inserting -= 1
        held.end(token, 0)
        onLostClaim()
      },
    })
  }

  /** Starts what may be started, and claims more if little is left. */
  start(): void {
    // A handler that returns without waiting ends inside the loop below, which then goes on by itself.
    if (this.#starting || !this.#options.isOpen()) return
    const { clock } = this.#options.core
    this.#starting = true
    try {
      while (this.#running < this.#options.concurrency && this.#buffer.size > 0) {
        const nowMs = clock.monotonicMs()
        if (this.#turnBeganMs === undefined) this.#beginTurn(nowMs)
        else if (nowMs - this.#turnBeganMs > TURN_MS) break
        this.#running += 1
        this.#options.executor.start(this.#buffer.take() as ClaimedJob, this)
        if (!this.#options.isOpen()) break
      }
    } finally {
      this.#starting = false
    }
    this.#claimMore()
    this.#reservations.serve()
  }

  /** Takes out of the buffer what `wanted` says. */
  withdraw(wanted: (job: ClaimedJob) => boolean): ClaimedJob[] {
    return this.#buffer.takeWhere(wanted)
  }

  /** Hands back what was claimed too far ahead, now that jobs turn out to take long. */
  shorten(): void {
    const { finisher } = this.#options
    const keep = this.#pace.ahead * 2
    if (this.#buffer.size <= keep) return
    for (const job of this.#buffer.takeBeyond(keep)) finisher.add(job, HANDED_BACK)
  }

  /** Handlers are started in turns, so that timers, sockets and the heartbeat have theirs. */
  #beginTurn(nowMs: number): void {
    this.#turnBeganMs = nowMs
    setImmediate(() => {
      this.#turnBeganMs = undefined
      this.start()
    })
  }

  #claimMore(): void {
    const { concurrency, isOpen } = this.#options
    while (this.#more && this.#claims < MAX_CLAIMS && isOpen()) {
      const free = concurrency - this.#running
      const { ahead } = this.#pace
      const coming = this.#buffer.size + this.#incoming
      // Not for every job that ends: once half of what was fetched ahead is used up, or a place would be left empty.
      if (coming >= free && coming > free + ahead / 2) return
      const limit = Math.min(MAX_CLAIM, free + ahead - coming)
      if (limit <= 0) return
      void this.#claim(limit)
    }
  }

  /**
   * Places for jobs that stand in no line: none while any may stand in it. What is promised keeps nobody from claiming, for
   * it may be long until it is used.
   */
  #free(): number {
    if (this.#more || this.#unsure || this.#claims > 0) return 0
    return this.#room() - this.#reservations.promised
  }

  /** Jobs that may be started or held now, beside those that are. */
  #room(): number {
    return this.#options.isOpen() ? this.#capacity() - this.#running - this.#buffer.size : 0
  }

  /** Jobs that may be here at once. Alone, nobody is starved by what one pause makes look fast for too long. */
  #capacity(): number {
    const { concurrency, heartbeat } = this.#options
    const { ahead, steadilyAhead } = this.#pace
    return concurrency + (heartbeat.alone ? Math.max(ahead, steadilyAhead) : ahead)
  }

  /** Never rejects. */
  async #claim(limit: number): Promise<void> {
    const { core, pool, heartbeat, held, kinds, queue, onLostClaim } = this.#options
    const token = core.ids.uuid()
    const processId = heartbeat.id
    const reading = this.#frontier.read()
    const frontier = [...this.#frontier.places]
    const horizon = this.#horizon
    this.#claims += 1
    this.#incoming += limit
    this.#more = false
    const isSweep = this.#isSweep
    this.#isSweep = false
    const beganMs = core.clock.monotonicMs()
    held.begin(token)
    let jobs: ClaimedJob[] = []
    try {
      jobs = await claimJobs(pool, { queue, kinds, limit, processId, token, frontier })
      const gate = failpoint('job:claimed')
      if (gate) await gate
      if (jobs.length === limit) this.#more = true
      this.#unsure = false
      reading.end(...this.#reach(jobs, limit), horizon)
    } catch (error) {
      reading.abandon()
      this.#unsure = true
      core.logger.warn({ error, queue }, 'jobs could not be claimed')
      onLostClaim()
    }
    if (isSweep) this.#sweepMs = core.clock.monotonicMs() - beganMs
    this.#claims -= 1
    this.#incoming -= limit
    held.end(token, jobs.length)
    this.#take(jobs, processId)
    this.start()
  }

  /** Takes claimed jobs in, unless they are no longer to be executed here. */
  #take(jobs: readonly ClaimedJob[], processId: string): void {
    const { finisher, heartbeat, isStopping } = this.#options
    if (isStopping()) {
      for (const job of jobs) finisher.add(job, HANDED_BACK)
    } else if (processId === heartbeat.id) {
      this.#buffer.add(jobs)
    } else {
      // Claimed under an id that has lapsed meanwhile: they are taken back by upkeep.
      for (const job of jobs) finisher.written(job)
    }
  }

  #reach(
    jobs: readonly ClaimedJob[],
    limit: number,
  ): [(number | undefined)[], (priority: number) => boolean] {
    const highest: (number | undefined)[] = []
    let last = -1
    for (const { priority, place } of jobs) {
      highest[priority] = Math.max(highest[priority] ?? 0, place)
      last = Math.max(last, priority)
    }
    const full = jobs.length === limit
    return [highest, (priority) => !full || priority < last]
  }
}
