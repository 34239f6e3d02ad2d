import type { Core } from '../core/core.ts'
import { encodeEvents, type EncodeOptions } from '../events/encode.ts'
import type { EventDefinition } from '../events/event.ts'
import type { InsertableJob } from '../jobs/insertable-job.ts'
import { newJob, type NewJob, type NewJobOptions } from '../jobs/new-job.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Log, NewRecord } from '../log/port.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { Transaction } from '../postgres/transaction.ts'
import { directSink, Wakes, type Sink } from './sink.ts'

/** Options of publishing an event. */
export type PublishOptions = EncodeOptions
/** Options of inserting a job. */
export type InsertOptions = Omit<NewJobOptions, 'meta'>

/** What can be written together with a user's own statements: all of it is committed, or none. */
export interface Writer {
  /**
   * Publishes an event.
   * @returns its id.
   * @throws E_EVENT_INVALID when `data` does not match the schema; E_LOG_UNKNOWN_TOPIC, but not through the outbox, where
   * the event waits for its topic.
   */
  publish<I>(
    definition: EventDefinition<string, I, unknown>,
    data: NoInfer<I>,
    options?: PublishOptions,
  ): Promise<string>
  /** Publishes many events of one type, in this order, with one statement. Returns their ids. */
  publishMany<I>(
    definition: EventDefinition<string, I, unknown>,
    data: readonly NoInfer<I>[],
    options?: Omit<PublishOptions, 'id'>,
  ): Promise<string[]>
  /**
   * Inserts a job.
   * @returns its id.
   * @throws E_EVENT_INVALID when `args` do not match the schema.
   */
  insert<I>(
    definition: InsertableJob<I>,
    args: NoInfer<I>,
    options?: InsertOptions,
  ): Promise<string>
  /**
   * Inserts many jobs of one kind, all or none, a thousand with one statement. Without `tx`, what comes behind the first
   * two thousand is read while they are being inserted: leave `args` as they are until then. Returns their ids.
   */
  insertMany<I>(
    definition: InsertableJob<I>,
    args: readonly NoInfer<I>[],
    options?: InsertOptions,
  ): Promise<string[]>
  /**
   * Appends records as they are, bytes and headers, to topics that others define: what a source of foreign records does.
   * @throws E_LOG_UNKNOWN_TOPIC
   */
  append(records: readonly NewRecord[]): Promise<void>
}

/** A transaction with everything that millrace can write in it. */
export interface MillraceTransaction extends Queryable, Writer {}

/** What a piece of writing was caused by. */
export interface Cause {
  readonly correlationId?: string
  readonly causationId?: string
  /** See `EncodeManyOptions`. */
  readonly causationRecord?: string
  readonly traceparent?: string
}

/** What writing needs. */
export interface WriterEnvironment {
  readonly core: Core
  readonly pool: Pool
  readonly log: Log
  readonly waker: Pick<JobWaker, 'wake'>
}

/** Writes into `sink`; everything it writes has the same cause. */
export function writer({ core }: WriterEnvironment, sink: Sink, cause: Cause): Writer {
  async function publishAll(
    definition: EventDefinition,
    data: readonly unknown[],
    options: PublishOptions,
  ): Promise<string[]> {
    const encoded = await encodeEvents(core, definition, data, { ...cause, ...options })
    await sink.append(encoded)
    return encoded.map(({ id }) => id)
  }
  async function insertAll(
    definition: InsertableJob,
    args: readonly unknown[],
    options: InsertOptions,
  ): Promise<string[]> {
    const ids: string[] = []
    const made = { ...options, meta: cause }
    // Made as they are asked for: of many, those of one statement while the server is at the one before.
    function* jobs(all: readonly unknown[]): Generator<NewJob, void> {
      for (const one of all) {
        const job = newJob(core, definition, one, made)
        ids.push(job.id)
        yield job
      }
    }
    await sink.insert(jobs([...args]))
    return ids
  }
  return {
    publish: async (definition, data, options = {}) =>
      (await publishAll(definition, [data], options))[0] as string,
    publishMany: (definition, data, options = {}) => publishAll(definition, data, options),
    insert: async (definition, args, options = {}) =>
      (await insertAll(definition, [args], options))[0] as string,
    insertMany: (definition, args, options = {}) => insertAll(definition, args, options),
    append: (records) => sink.append(records),
  }
}

/** `tx` with everything that millrace can write in it; whoever waits for it is woken after the commit. */
export function millraceTransaction(
  env: WriterEnvironment,
  tx: Transaction,
  cause: Cause,
  sink: Sink = directSink(env, tx, wakesAfter(env, tx)),
): MillraceTransaction {
  return { query: (text, values) => tx.query(text, values), ...writer(env, sink, cause) }
}

function wakesAfter(env: WriterEnvironment, tx: Transaction): Wakes {
  const wakes = new Wakes()
  tx.afterCommit(() => wakes.send(env))
  return wakes
}
