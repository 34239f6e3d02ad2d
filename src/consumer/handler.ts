import type { Core } from '../core/core.ts'
import type { Logger } from '../core/logger.ts'
import type { LogRecord, Log } from '../log/port.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Transaction } from '../postgres/transaction.ts'
import type { ReserveOptions } from '../process/reserve-options.ts'

/** What a handler says when there is nothing to do for a record: it is counted as filtered, under the reason. */
export interface Skip {
  readonly outcome: 'skip'
  readonly reason: string
}

/** Nothing to do for this record; `reason` is counted. Default reason `skipped`. Keep reasons few: no ids in them. */
export function skip(reason = 'skipped'): Skip {
  return { outcome: 'skip', reason }
}

/** Whether a handler's result is a {@link Skip}. */
export function isSkip(value: unknown): value is Skip {
  return typeof value === 'object' && value !== null && (value as Skip).outcome === 'skip'
}

/** What a handler is told beside the event. */
export interface RecordContext {
  readonly application: string
  readonly handler: string
  /** The record as it came, with its place in the log and its raw bytes. */
  readonly record: LogRecord
  readonly generation: number
  /** How often this record has been tried for this handler, counted from 1. */
  readonly attempt: number
  /** Aborted when the time is up, the partition goes to another process, or this one stops. */
  readonly signal: AbortSignal
  readonly logger: Logger
}

/** One record of a batch for one handler, with what `prepare` gave. */
export interface PreparedRecord<E, P> {
  readonly event: E
  readonly prepared: P
  readonly context: RecordContext
}

/**
 * A handler as the consumer runs it. `prepare` may look things up anywhere and writes nowhere; it runs outside any
 * transaction, over several keys at once, in order within a key. Then, in the transaction that moves the position,
 * either `apply` once per record in offset order, or `applyBatch` once with all of the batch; they write to this
 * database only. Every function may run again for the same record after an error or a crash, but what they wrote then
 * was rolled back.
 */
export interface RecordHandler<E, P = unknown> {
  /** What a handled record counts as. */
  readonly disposition: 'done' | 'jobs'
  prepare?(event: E, context: RecordContext): P | Skip | Promise<P | Skip>
  apply?(
    event: E,
    prepared: P,
    context: RecordContext,
    tx: Transaction,
  ): void | undefined | Skip | Promise<void | undefined | Skip>
  applyBatch?(
    records: readonly PreparedRecord<E, P>[],
    tx: Transaction,
    reservation?: Reservation,
  ): Promise<void>
  /**
   * Asked once per batch, before its transaction, with how many of its records are about to come to `applyBatch`. What it
   * gives is passed on, and given back when the batch is through, however it ended, or when a transaction of it has failed.
   */
  reserve?(records: number, options: ReserveOptions): Promise<Reservation | undefined>
}

/** Places with the workers of this process, for jobs that are about to be made; what they are, the other side knows. */
export interface Reservation extends Disposable {
  /** Inserts jobs, and sees to it that somebody executes them once `tx` is committed. */
  insert(tx: Transaction, jobs: readonly unknown[]): Promise<void>
}

/** What a handler is bound to when its application starts. */
export interface HandlerEnvironment {
  readonly core: Core
  readonly log: Log
  readonly pool: Pool
  readonly codeVersion: string | null
  /** Tells the workers of jobs that were made, once they are committed; given by who knows the other side. */
  readonly waker: {
    wake(wakes: readonly { readonly queue: string; readonly place: number }[]): void
  }
  /** Who has places for jobs in this process, if it executes any. */
  readonly places?: {
    reserve(
      where: { readonly queue: string; readonly kind: string },
      wanted: number,
      options: ReserveOptions,
    ): Promise<Reservation | undefined>
  }
}

/** A handler as users define it: a plain value that can be imported anywhere, bound when its application starts. */
export interface HandlerDefinition<E> {
  /** Told apart by it when one application handles a type more than once; see {@link Application.on}. */
  readonly defaultName: string | undefined
  bind(environment: HandlerEnvironment): RecordHandler<E>
}
