import type { Logger } from '../core/logger.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { DeclareEffect } from '../timeline/effect.ts'
import type { PublishableEvent, PublishOptions } from './event-publisher.ts'
import type { InsertableJob } from './insertable-job.ts'
import type { JobMeta, JobOrigin } from './meta.ts'
import type { NewJobOptions } from './new-job.ts'

/** Publishes and inserts. */
export interface Effects {
  /**
   * Publishes an event whose cause is this job. On the context, outside of {@link JobContext.transaction}, it is there at
   * once, whatever becomes of the attempt: a retry publishes again, with a new id unless `id` names one.
   * @throws E_EVENT_INVALID
   */
  readonly publish: <Input>(
    definition: PublishableEvent<Input>,
    data: NoInfer<Input>,
    options?: PublishOptions,
  ) => Promise<void>
  /**
   * Inserts a job whose cause is this one, and returns its id. On the context, outside of
   * {@link JobContext.transaction}, a retry inserts another.
   * @throws E_EVENT_INVALID
   */
  readonly insert: <Input>(
    definition: InsertableJob<Input>,
    args: NoInfer<Input>,
    options?: NewJobOptions,
  ) => Promise<string>
}

/** The transaction of {@link JobContext.transaction}. */
export interface JobTransaction extends Queryable, Effects {}

/** What a handler is told beside its args. */
export interface JobContext extends Effects {
  readonly id: string
  readonly kind: string
  readonly queue: string
  /** Which execution this is, from 1. */
  readonly attempt: number
  readonly maxAttempts: number
  /**
   * Aborted when the handler should end: with a `TimeoutReason`, a `CancelReason` or a `StopReason`. To be handed to
   * everything that waits.
   */
  readonly signal: AbortSignal
  /** Adds job id, kind and attempt to every line. */
  readonly logger: Logger
  /** To be sent along with every effect outside this database: the same in every attempt of this job. */
  readonly idempotencyKey: string
  /**
   * Says what was done outside: `effect('email.sent', { messageId })`, for `millrace trace`. Written in the transaction that
   * completes the job, or with the outcome of an attempt that did not; lost only with the process. Never throws.
   * See {@link DeclareEffect} for the bounds.
   */
  readonly effect: DeclareEffect
  readonly meta: JobMeta
  /** The record this job was made from, if it was made from one. */
  readonly origin: JobOrigin | undefined
  /**
   * Runs `action` in a transaction in which the job is completed too: what it writes happens once. Once only per
   * attempt. What `publish` and `insert` do meanwhile, on the transaction or on the context, belongs to it. What the
   * handler does or throws afterwards no longer changes the job.
   * @throws E_JOB_STALE when the job was taken back meanwhile; nothing was written.
   * @throws E_JOB_STATE when this attempt has already completed the job.
   * @throws E_DB_UNKNOWN_COMMIT
   */
  readonly transaction: <T>(action: (tx: JobTransaction) => Promise<T>) => Promise<T>
}
