import { throwIfAborted } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import type { Logger } from '../core/logger.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Effects, JobContext, JobTransaction } from '../jobs/context.ts'
import type { EventPublisher } from '../jobs/event-publisher.ts'
import type { FinishHooks } from '../jobs/finished.ts'
import { madeMissingDay } from '../jobs/history-days.ts'
import { insertJobs, insertJobsNow } from '../jobs/insert.ts'
import { decodeMeta, idempotencyKeyOf, type JobMeta, type JobOrigin } from '../jobs/meta.ts'
import { newJob } from '../jobs/new-job.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'
import { writeEffects } from '../timeline/effect-rows.ts'
import { addEffect, effectName, type DeclareEffect } from '../timeline/effect.ts'
import type { ClaimedJob } from './claimed-job.ts'
import { sourced, takeEffects } from './effects.ts'
import { completeJobs, endJobs } from './finish-statements.ts'
import { COMPLETED_END } from './result.ts'
import { whyAbsent } from './stale.ts'

/** What a context needs of its worker. */
export interface ContextParts {
  readonly core: Core
  readonly pool: Pool
  readonly waker: JobWaker
  readonly hooks: FinishHooks
  readonly publisher: EventPublisher | undefined
  /** Limit of a handler's transaction, in milliseconds. */
  readonly transactionMs: number
}

/**
 * What a handler is told. Everything that costs something and that most handlers do without is made when it is first
 * asked for: the signal, the logger, the key.
 */
export class AttemptContext implements JobContext {
  readonly #parts: ContextParts
  readonly #job: ClaimedJob
  #aborter: AbortController | undefined
  #aborted: Error | undefined
  #logger: Logger | undefined
  #meta: JobMeta | undefined
  #key: string | undefined
  #open: Transaction | undefined
  #completed = false

  constructor(parts: ContextParts, job: ClaimedJob) {
    this.#parts = parts
    this.#job = job
  }

  get id(): string {
    return this.#job.id
  }

  get kind(): string {
    return this.#job.kind
  }

  get queue(): string {
    return this.#job.queue
  }

  get attempt(): number {
    return this.#job.attempt
  }

  get maxAttempts(): number {
    return this.#job.maxAttempts
  }

  get meta(): JobMeta {
    this.#meta ??= decodeMeta(this.#job.metaJson)
    return this.#meta
  }

  get origin(): JobOrigin | undefined {
    return this.meta.origin
  }

  get idempotencyKey(): string {
    this.#key ??= idempotencyKeyOf(this.id, this.origin)
    return this.#key
  }

  get signal(): AbortSignal {
    if (this.#aborter === undefined) {
      this.#aborter = new AbortController()
      if (this.#aborted !== undefined) this.#aborter.abort(this.#aborted)
    }
    return this.#aborter.signal
  }

  get logger(): Logger {
    this.#logger ??= this.#parts.core.logger.child({
      jobId: this.id,
      kind: this.kind,
      attempt: this.attempt,
    })
    return this.#logger
  }

  // Handlers take these out of the context, so they must not depend on how they are called.
  get publish(): Effects['publish'] {
    return this.#effects.publish
  }

  get insert(): Effects['insert'] {
    return this.#effects.insert
  }

  get effect(): DeclareEffect {
    return (name, details) => {
      if (this.#completed) {
        this.logger.warn(
          { effect: effectName(name) },
          'an effect was declared after its transaction had completed the job; it is not kept',
        )
        return
      }
      addEffect((this.#job.effects ??= []), this.#parts.core.clock.now(), name, details)
    }
  }

  get transaction(): JobContext['transaction'] {
    return (action) => this.#transaction(action)
  }

  /** Why the signal was aborted, if it was. @internal */
  get abortedWith(): Error | undefined {
    return this.#aborted
  }

  /** Whether the job was completed in a transaction of the handler's. @internal */
  get isCompleted(): boolean {
    return this.#completed
  }

  /** Aborts the signal; only the first time counts. @internal */
  abort(reason: Error): void {
    if (this.#aborted !== undefined) return
    this.#aborted = reason
    this.#aborter?.abort(reason)
  }

  get #effects(): Effects {
    return {
      publish: async (definition, data, options = {}) => {
        const { publisher } = this.#parts
        if (publisher === undefined) {
          throw new MillraceError(
            'E_CONFIG_INVALID',
            'this worker was started without anything that publishes events',
          )
        }
        throwIfAborted(this.#aborted === undefined ? undefined : this.signal)
        await publisher.publish(definition, data, {
          ...options,
          ...(this.#open === undefined ? {} : { tx: this.#open }),
          cause: { jobId: this.id, meta: this.meta },
        })
      },
      insert: async (definition, args, options = {}) => {
        const { core, waker } = this.#parts
        throwIfAborted(this.#aborted === undefined ? undefined : this.signal)
        const { correlationId, traceparent } = this.meta
        const made = newJob(core, definition, args, {
          ...options,
          meta: {
            correlationId: correlationId ?? this.id,
            causationId: this.id,
            ...(traceparent === undefined ? {} : { traceparent }),
            ...options.meta,
          },
        })
        const tx = this.#open
        if (tx === undefined) {
          await insertJobsNow(this.#parts, [made])
        } else {
          const { wakes } = await insertJobs(tx, [made])
          tx.afterCommit(() => waker.wake(wakes))
        }
        return made.id
      },
    }
  }

  async #transaction<T>(action: (tx: JobTransaction) => Promise<T>): Promise<T> {
    if (this.#completed || this.#open !== undefined) {
      throw new MillraceError(
        'E_JOB_STATE',
        'an attempt has one transaction, because the job is completed in it',
        {
          details: { jobId: this.id },
        },
      )
    }
    throwIfAborted(this.#aborted === undefined ? undefined : this.signal)
    const { core, pool, transactionMs } = this.#parts
    const result = await transaction(
      pool,
      core,
      async (tx) => {
        this.#open = tx
        try {
          const value = await action(this.#jobTransaction(tx))
          await failpoint('job:before-complete')
          await this.#complete(tx)
          await failpoint('job:before-transaction-commit')
          return value
        } finally {
          this.#open = undefined
        }
      },
      {
        timeoutMs: transactionMs,
        committed: async (db) => (await whyAbsent(db, [this.#job])).get(this.#job) === 'ours',
      },
    ).catch(async (error: unknown) => {
      // What the handler did cannot be done again here: the attempt fails, and the next one finds the day.
      await madeMissingDay(this.#parts, error)
      throw error
    })
    this.#completed = true
    takeEffects(this.#job)
    await failpoint('job:after-transaction-commit')
    return result
  }

  #jobTransaction(tx: Transaction): JobTransaction {
    const { publish, insert } = this.#effects
    return { query: (text, values) => tx.query(text, values), publish, insert }
  }

  async #complete(tx: Transaction): Promise<void> {
    const { hooks } = this.#parts
    let found: number
    if (hooks.includeCompleted && hooks.onFinished !== undefined) {
      const finished = await endJobs(tx, [{ job: this.#job, result: COMPLETED_END }])
      found = finished.length
      if (found === 1) await hooks.onFinished(tx, finished)
    } else {
      found = await completeJobs(tx, [this.#job], { byId: true })
    }
    if (found !== 1) {
      throw new MillraceError(
        'E_JOB_STALE',
        'the job was taken back while its handler ran; the transaction is rolled back',
        {
          details: { jobId: this.id, attempt: this.attempt },
        },
      )
    }
    await writeEffects(tx, sourced(this.#job, this.#job.effects))
  }
}
