import type { Transaction } from '../postgres/transaction.ts'
import type { JobMeta } from './meta.ts'

/** As much of an event's definition as this side needs to know: enough to infer its data. */
export interface PublishableEvent<Input = unknown> {
  readonly kind: 'event'
  readonly type: string
  /** The record's key; its parameter tells what data the event has. */
  key(data: Input): string | null
}

/** Options of `publish`. */
export interface PublishOptions {
  /**
   * The event's id, 1 to 200 characters. Default: a new one. Outside of a transaction a retry publishes again: with an id of its
   * own making (`${idempotencyKey}:shipped`) both are the same event, and `once` of a handler takes it once. Then give it the
   * same data too.
   */
  readonly id?: string
  /** The record's key, in place of the one that the definition makes. */
  readonly key?: string | null
}

/** The job that an event is published from: it becomes the event's cause. */
export interface PublishCause {
  readonly jobId: string
  readonly meta: JobMeta
}

/**
 * Publishes events for handlers of jobs. Given from outside: the two sides never import each other.
 */
export interface EventPublisher {
  /**
   * Publishes an event: in `tx` if there is one, so that it commits or rolls back with it, otherwise on its own.
   * @throws E_EVENT_INVALID
   */
  publish(
    definition: PublishableEvent,
    data: unknown,
    options: PublishOptions & { readonly tx?: Transaction; readonly cause: PublishCause },
  ): Promise<void>
}
