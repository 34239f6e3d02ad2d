import type { HandlerDefinition, RecordContext, Skip } from '../consumer/handler.ts'
import type { ReceivedEvent } from '../events/received-event.ts'
import { JobWaker } from '../jobs/wake.ts'
import type { Transaction } from '../postgres/transaction.ts'
import {
  millraceTransaction,
  type MillraceTransaction,
  type WriterEnvironment,
} from './millrace-transaction.ts'

/** What `apply` is told: the record, and the transaction that also moves the position. */
export interface ApplyContext extends RecordContext {
  readonly tx: MillraceTransaction
}

/** A record's effect in this database. */
export type Apply<E, P> = (
  event: E,
  prepared: P,
  context: ApplyContext,
) => void | Skip | Promise<void | Skip>

/** Handles a record in the transaction that moves the position. */
export interface InTransaction<E, P> {
  /**
   * Looks things up, anywhere; writes nowhere. Runs outside the transaction, over several keys at once, in order within
   * a key. What it returns is given to `apply`; it may {@link skip}.
   */
  readonly prepare: (event: E, context: RecordContext) => P | Skip | Promise<P | Skip>
  /**
   * Writes to this database only, through `context.tx`, and reads nothing elsewhere. Its effects happen once: they are
   * committed together with the position, or not at all.
   */
  readonly apply: Apply<E, P>
}

/** Handles a record in the transaction that moves the position: first `prepare`, then `apply`. */
export function inTransaction<E extends ReceivedEvent<string, unknown>, P>(
  handler: InTransaction<E, P>,
): HandlerDefinition<E>
/** Short for `apply` alone. */
export function inTransaction<E extends ReceivedEvent<string, unknown>>(
  apply: (event: E, context: ApplyContext) => void | Skip | Promise<void | Skip>,
): HandlerDefinition<E>
export function inTransaction<E extends ReceivedEvent<string, unknown>, P>(
  handler:
    | InTransaction<E, P>
    | ((event: E, context: ApplyContext) => void | Skip | Promise<void | Skip>),
): HandlerDefinition<E> {
  return {
    defaultName: undefined,
    bind: (environment) => {
      const env = { ...environment, waker: new JobWaker(environment) }
      return {
        disposition: 'done',
        ...(typeof handler === 'function'
          ? {}
          : { prepare: (event: E, context: RecordContext) => handler.prepare(event, context) }),
        apply(event: E, prepared: unknown, context: RecordContext, tx: Transaction) {
          const told = applyContext(env, event, context, tx)
          return typeof handler === 'function'
            ? handler(event, told)
            : handler.apply(event, prepared as P, told)
        },
      }
    },
  }
}

function applyContext(
  env: WriterEnvironment,
  event: ReceivedEvent<string, unknown>,
  context: RecordContext,
  tx: Transaction,
): ApplyContext {
  let given: MillraceTransaction | undefined
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
      given ??= millraceTransaction(env, tx, {
        correlationId: event.correlationId,
        causationId: event.id,
        ...(event.traceparent === null ? {} : { traceparent: event.traceparent }),
      })
      return given
    },
  }
}
