import type { HandlerDefinition, PreparedRecord, RecordContext, Skip } from '../consumer/handler.ts'
import { HEADER, pickHeaders } from '../events/envelope.ts'
import type { ReceivedEvent } from '../events/received-event.ts'
import type { Transaction } from '../postgres/transaction.ts'
import type { DeclareEffect } from '../timeline/effect.ts'
import { BatchEffects } from './batch-effects.ts'
import {
  millraceTransaction,
  type Cause,
  type MillraceTransaction,
  type WriterEnvironment,
} from './millrace-transaction.ts'
import { BatchSinks } from './sink.ts'

/** What `apply` is told: the record, and the transaction that also moves the position. */
export interface ApplyContext extends RecordContext {
  /**
   * The transaction of the batch. What it publishes and inserts is checked at once, and written for all of the batch
   * together, before the position moves.
   */
  readonly tx: MillraceTransaction
  /**
   * Says what was done, for `millrace trace`: `effect('stock.booked', { sku })`. Written in the transaction of the batch.
   * Never throws. See {@link DeclareEffect} for the bounds.
   */
  readonly effect: DeclareEffect
}

/** What `applyBatch` is told. */
export interface ApplyBatchContext {
  readonly application: string
  readonly handler: string
  /** As in {@link ApplyContext}. */
  readonly tx: MillraceTransaction
}

/** What a handler gives back: nothing, or that there is nothing to do. */
export type Applied = void | undefined | Skip

/** A record's effect in this database. */
export type Apply<E, P> = (
  event: E,
  prepared: P,
  context: ApplyContext,
) => Applied | Promise<Applied>

/**
 * Looks things up, anywhere; writes nowhere. Runs outside the transaction, over several keys at once, in order within a
 * key. What it returns is given to `apply`; it may {@link skip}.
 */
export type Prepare<E, P> = (event: E, context: RecordContext) => P | Skip | Promise<P | Skip>

/** Handles a record in the transaction that moves the position. */
export interface InTransaction<E, P> {
  readonly prepare: Prepare<E, P>
  /**
   * Writes to this database only, through `context.tx`, and reads nothing elsewhere. Its effects happen once: they are
   * committed together with the position, or not at all.
   */
  readonly apply: Apply<E, P>
}

/** Handles all records of a batch with statements of its own for all of them. */
export interface InTransactionBatch<E, P> {
  /** Default: nothing is prepared. */
  readonly prepare?: Prepare<E, P>
  /**
   * As `apply`, but called once with all records of the batch, in offset order. When it fails, the batch is halved until
   * the record is found.
   */
  readonly applyBatch: (
    records: readonly PreparedRecord<E, P>[],
    context: ApplyBatchContext,
  ) => Promise<void>
}

/** Handles a record in the transaction that moves the position: first `prepare`, then `apply` or `applyBatch`. */
export function inTransaction<E extends ReceivedEvent<string, unknown>, P>(
  handler: InTransaction<E, P> | InTransactionBatch<E, P>,
): HandlerDefinition<E>
/** Short for `apply` alone. */
export function inTransaction<E extends ReceivedEvent<string, unknown>>(
  apply: (event: E, context: ApplyContext) => Applied | Promise<Applied>,
): HandlerDefinition<E>
export function inTransaction<E extends ReceivedEvent<string, unknown>, P>(
  handler:
    | InTransaction<E, P>
    | InTransactionBatch<E, P>
    | ((event: E, context: ApplyContext) => Applied | Promise<Applied>),
): HandlerDefinition<E> {
  return {
    defaultName: undefined,
    bind: (env) => {
      const sinks = new BatchSinks(env)
      const effects = new BatchEffects(env.core)
      const told = (event: E, context: RecordContext, tx: Transaction): ApplyContext =>
        applyContext(
          context,
          () => millraceTransaction(env, tx, causeOf(event, context), sinks.of(tx)),
          () => effects.declare(tx, event.id, context),
        )
      if (typeof handler === 'function') {
        return {
          disposition: 'done',
          apply: (event, _prepared, context, tx) => handler(event, told(event, context, tx)),
        }
      }
      const { prepare } = handler
      return {
        disposition: 'done',
        ...(prepare === undefined ? {} : { prepare }),
        ...('apply' in handler
          ? {
              apply: (event: E, prepared: unknown, context: RecordContext, tx: Transaction) =>
                handler.apply(event, prepared as P, told(event, context, tx)),
            }
          : { applyBatch: batched(handler, env, sinks) }),
      }
    },
  }
}

function batched<E, P>(
  { applyBatch }: InTransactionBatch<E, P>,
  env: WriterEnvironment,
  sinks: BatchSinks,
): (records: readonly PreparedRecord<E, unknown>[], tx: Transaction) => Promise<void> {
  return async (records, tx) => {
    const first = records[0]
    if (first === undefined) return
    const { application, handler } = first.context
    // Many causes are none: what the batch writes begins a chain of its own, unless the caller names one.
    await applyBatch(records as readonly PreparedRecord<E, P>[], {
      application,
      handler,
      tx: millraceTransaction(env, tx, {}, sinks.of(tx)),
    })
  }
}

function causeOf(event: ReceivedEvent<string, unknown>, { record }: RecordContext): Cause {
  // An id that a foreign definition gives cannot be told from the record by those who do not have its code.
  const isMapped = pickHeaders(record.headers)[HEADER.id] === undefined
  const { topic, partition, offset } = record
  return {
    correlationId: event.correlationId,
    causationId: event.id,
    ...(isMapped ? { causationRecord: `${topic}/${partition}/${offset}` } : {}),
    ...(event.traceparent === null ? {} : { traceparent: event.traceparent }),
  }
}

function applyContext(
  context: RecordContext,
  makeTx: () => MillraceTransaction,
  makeEffect: () => DeclareEffect,
): ApplyContext {
  let given: MillraceTransaction | undefined
  let declare: DeclareEffect | undefined
  return {
    application: context.application,
    handler: context.handler,
    record: context.record,
    generation: context.generation,
    attempt: context.attempt,
    // Made only for those who ask: most handlers need one of the three.
    get signal() {
      return context.signal
    },
    get logger() {
      return context.logger
    },
    get tx() {
      given ??= makeTx()
      return given
    },
    get effect() {
      declare ??= makeEffect()
      return declare
    },
  }
}
