import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import type { LogFields } from '../core/logger.ts'
import type { FinishHooks } from '../jobs/finished.ts'
import { withHistoryDays } from '../jobs/history-days.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction } from '../postgres/transaction.ts'
import { writeEffects } from '../timeline/effect-rows.ts'
import type { DeclaredEffect } from '../timeline/effect.ts'
import { Batcher } from './batcher.ts'
import type { ClaimedJob } from './claimed-job.ts'
import { giveBackEffects, sourced, takeEffects } from './effects.ts'
import { completeJobs, endJobs, putBackJobs, type PutBack } from './finish-statements.ts'
import {
  CANCELLED,
  COMPLETED_END,
  type AttemptResult,
  type CompletedEnd,
  type EndedResult,
  type PutBackResult,
  type Settled,
} from './result.ts'
import { recordLate, whyAbsent, type Absence } from './stale.ts'

/** Options of {@link Finisher}. */
export interface FinisherOptions {
  readonly core: Core
  readonly pool: Pool
  readonly waker: JobWaker
  readonly hooks: FinishHooks
  /** Told when results are written, or known to be stale. */
  onWritten(jobs: readonly ClaimedJob[]): void
}

const MAX_BATCH = 500
/** Longest that a result waits for company. */
const MAX_WAIT_MS = 20

type Ended = EndedResult | CompletedEnd

interface Late {
  readonly job: ClaimedJob
  readonly effects: readonly DeclaredEffect[] | undefined
}

/**
 * Writes results of attempts off the handlers' path, in batches, each under its fence. A job that a statement does not
 * find is looked for: what an earlier try wrote is ours, what is still ours is written again, and anything else was taken
 * back and is noted as late.
 */
export class Finisher {
  readonly #options: FinisherOptions
  readonly #completed: Batcher<ClaimedJob>
  readonly #putBack: Batcher<Settled<PutBackResult>>
  readonly #ended: Batcher<Settled<Ended>>
  readonly #late: Batcher<Late>

  constructor(options: FinisherOptions) {
    this.#options = options
    const common = { core: options.core, maxBatch: MAX_BATCH, maxWaitMs: MAX_WAIT_MS }
    const written = (batch: readonly Settled[]): void => {
      options.onWritten(batch.map(({ job }) => job))
    }
    this.#completed = new Batcher({
      ...common,
      name: 'complete',
      maxInFlight: 2,
      write: (batch) => withHistoryDays(options, () => this.#writeCompleted(batch)),
      describe: describeJob,
      onWritten: options.onWritten,
    })
    this.#putBack = new Batcher<Settled<PutBackResult>>({
      ...common,
      name: 'put back',
      maxInFlight: 1,
      write: (batch, repeated) =>
        withHistoryDays(options, () => this.#writePutBack(batch, repeated)),
      describe: ({ job }) => describeJob(job),
      onWritten: written,
    })
    this.#ended = new Batcher<Settled<Ended>>({
      ...common,
      name: 'end',
      maxInFlight: 1,
      write: (batch) => withHistoryDays(options, () => this.#writeEnded(batch)),
      describe: ({ job }) => describeJob(job),
      onWritten: written,
    })
    this.#late = new Batcher<Late>({
      ...common,
      name: 'late',
      maxInFlight: 1,
      write: (batch) => withHistoryDays(options, () => this.#writeLate(batch)),
      describe: ({ job }) => describeJob(job),
      onWritten: () => {},
    })
  }

  /** Results that are not written yet. */
  get size(): number {
    return this.#completed.size + this.#putBack.size + this.#ended.size
  }

  /** How many of them the database refuses. They are tried again and again, and take no part in what waits for it. */
  get refused(): number {
    return this.#completed.refused + this.#putBack.refused + this.#ended.refused
  }

  /** Takes a result on. */
  add(job: ClaimedJob, result: AttemptResult): void {
    const effects = takeEffects(job)
    switch (result.result) {
      case 'completed':
        if (this.#options.hooks.includeCompleted || effects !== undefined)
          this.#ended.add({ job, result: COMPLETED_END, effects })
        else this.#completed.add(job)
        break
      case 'put back':
        this.#putBack.add({ job, result, effects })
        break
      case 'ended':
        this.#ended.add({ job, result, effects })
        break
    }
  }

  /** Notes that a result came after the job had been taken back. */
  addLate(job: ClaimedJob): void {
    this.#late.add({ job, effects: takeEffects(job) })
  }

  /** Says that a job is through with and needs no writing: its handler's transaction did it, or it is known to be stale. */
  written(job: ClaimedJob): void {
    this.#options.onWritten([job])
  }

  /** Nothing more is coming soon: writes what has gathered. */
  flush(): void {
    if (this.#completed.size > 0) this.#completed.flush()
    if (this.#putBack.size > 0) this.#putBack.flush()
    if (this.#ended.size > 0) this.#ended.flush()
    if (this.#late.size > 0) this.#late.flush()
  }

  /** Resolves when everything is written or dropped. */
  async empty(): Promise<void> {
    // What one writes may become another's: a job that somebody cancelled meanwhile, or a late one.
    while (this.size + this.#late.size > 0) {
      await Promise.all([this.#completed.empty(), this.#putBack.empty(), this.#ended.empty()])
      await this.#late.empty()
    }
  }

  /** Gives up what cannot be written now. */
  abandon(): number {
    return (
      this.#completed.abandon() +
      this.#putBack.abandon() +
      this.#ended.abandon() +
      this.#late.abandon()
    )
  }

  async #writeCompleted(batch: readonly ClaimedJob[]): Promise<void> {
    const { pool } = this.#options
    const before = failpoint('job:before-complete')
    if (before) await before
    let found = await completeJobs(pool, batch)
    const after = failpoint('job:after-complete')
    if (after) await after
    if (found === batch.length) return

    const absent = await whyAbsent(pool, batch)
    this.#noteLate(absent)
    const held = batch.filter((job) => absent.get(job) === 'held')
    if (held.length === 0) return
    found = await completeJobs(pool, held, { byId: true })
    // Taken back between the two looks: look once more.
    if (found < held.length) this.#noteLate(await whyAbsent(pool, held))
  }

  async #writePutBack(batch: readonly Settled<PutBackResult>[], repeated: boolean): Promise<void> {
    const { pool, waker } = this.#options
    await failpoint('job:before-put-back')
    const { found, wakes } = batch.some(({ effects }) => effects !== undefined)
      ? await this.#putBackWithEffects(batch)
      : await putBackJobs(pool, batch)
    await failpoint('job:after-put-back')
    waker.wake(wakes)
    if (found.size === batch.length) return
    const missing = batch.filter((_, index) => !found.has(index))
    const absent = await whyAbsent(
      pool,
      missing.map(({ job }) => job),
    )
    for (const { job, effects } of missing) {
      if (absent.get(job) === 'held') this.#ended.add({ job, result: CANCELLED, effects })
    }
    // A snooze leaves no trace of its own: after a lost reply it cannot be told from a late one, and is not called so.
    if (!repeated) this.#noteLate(absent, missing)
  }

  #putBackWithEffects(batch: readonly Settled<PutBackResult>[]): Promise<PutBack> {
    const { core, pool } = this.#options
    return transaction(pool, core, async (tx) => {
      const done = await putBackJobs(tx, batch)
      const written = batch.filter((_, index) => done.found.has(index))
      await writeEffects(
        tx,
        written.flatMap(({ job, effects }) => sourced(job, effects)),
      )
      return done
    })
  }

  async #writeLate(batch: readonly Late[]): Promise<void> {
    const { core, pool } = this.#options
    const jobs = batch.map(({ job }) => job)
    if (batch.every(({ effects }) => effects === undefined)) {
      await recordLate(pool, jobs)
      return
    }
    await transaction(pool, core, async (tx) => {
      const fresh = new Set(await recordLate(tx, jobs))
      const written = batch.filter(({ job }) => fresh.has(job))
      await writeEffects(
        tx,
        written.flatMap(({ job, effects }) => sourced(job, effects)),
      )
    })
  }

  async #writeEnded(batch: readonly Settled<Ended>[]): Promise<void> {
    const { core, pool, hooks } = this.#options
    const first = batch[0] as Settled<Ended>
    const finished = await transaction(
      pool,
      core,
      async (tx) => {
        const ended = await endJobs(tx, batch)
        // A completed job may be here for its effects only.
        const told = hooks.includeCompleted
          ? ended
          : ended.filter(({ state }) => state !== 'completed')
        if (told.length > 0) await hooks.onFinished?.(tx, told)
        const ids = new Set(ended.map(({ id }) => id))
        const written = batch.filter(({ job }) => ids.has(job.id))
        await writeEffects(
          tx,
          written.flatMap(({ job, effects }) => sourced(job, effects)),
        )
        await failpoint('job:before-end')
        return ended
      },
      {
        committed: async (db) => (await whyAbsent(db, [first.job])).get(first.job) === 'ours',
      },
    )
    await failpoint('job:after-end')
    if (finished.length === batch.length) return
    const ids = new Set(finished.map(({ id }) => id))
    const missing = batch.filter(({ job }) => !ids.has(job.id))
    this.#noteLate(
      await whyAbsent(
        pool,
        missing.map(({ job }) => job),
      ),
      missing,
    )
  }

  #noteLate(absences: ReadonlyMap<ClaimedJob, Absence>, settled: readonly Settled[] = []): void {
    for (const [job, why] of absences) {
      if (why !== 'late') continue
      giveBackEffects(job, settled.find((one) => one.job === job)?.effects)
      this.#options.core.logger.warn(
        { jobId: job.id, kind: job.kind, attempt: job.attempt },
        'a result came after the job had been taken back; it changed nothing',
      )
      this.addLate(job)
    }
  }
}

function describeJob({ id, kind, attempt }: ClaimedJob): LogFields {
  return { jobId: id, kind, attempt }
}
