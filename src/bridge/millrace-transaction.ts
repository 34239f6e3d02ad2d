import type { Core } from '../core/core.ts'
import { encodeEvents, type EncodeOptions } from '../events/encode.ts'
import type { EventDefinition } from '../events/event.ts'
import { insertJobs } from '../jobs/insert.ts'
import type { InsertableJob } from '../jobs/insertable-job.ts'
import { newJob, type NewJobOptions } from '../jobs/new-job.ts'
import type { JobWaker, QueueWake } from '../jobs/wake.ts'
import type { Log } from '../log/port.ts'
import { wakeLog } from '../log/wake.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { Transaction } from '../postgres/transaction.ts'

/** Options of publishing an event. */
export type PublishOptions = EncodeOptions
/** Options of inserting a job. */
export type InsertOptions = Omit<NewJobOptions, 'meta'>

/** What can be written together with a user's own statements: all of it is committed, or none. */
export interface Writer {
  /**
   * Publishes an event.
   * @returns its id.
   * @throws E_EVENT_INVALID when `data` does not match the schema; E_LOG_UNKNOWN_TOPIC
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
  /** Inserts many jobs of one kind with one statement. Returns their ids. */
  insertMany<I>(
    definition: InsertableJob<I>,
    args: readonly NoInfer<I>[],
    options?: InsertOptions,
  ): Promise<string[]>
}

/** A transaction with everything that millrace can write in it. */
export interface MillraceTransaction extends Queryable, Writer {}

/** What a piece of writing was caused by. */
export interface Cause {
  readonly correlationId?: string
  readonly causationId?: string
  readonly traceparent?: string
}

/** What writing needs. */
export interface WriterEnvironment {
  readonly core: Core
  readonly pool: Pool
  readonly log: Log
  readonly waker: JobWaker
}

/** What was written, and so whom to wake once it is committed. */
export class Wakes {
  readonly #topics = new Set<string>()
  readonly #queues: QueueWake[] = []

  topic(id: string): void {
    this.#topics.add(id)
  }

  queues(wakes: readonly QueueWake[]): void {
    this.#queues.push(...wakes)
  }

  /** Wakes everybody. A lost wake-up costs a poll, so its failure is nobody's. */
  async send({ core, pool, waker }: WriterEnvironment): Promise<void> {
    waker.wake(this.#queues)
    try {
      if (this.#topics.size > 0) await wakeLog(pool, [...this.#topics])
    } catch (error) {
      core.logger.debug({ error }, 'no wake-up sent; polling finds it')
    }
    this.#topics.clear()
    this.#queues.length = 0
  }
}

/** Writes through `db`, whatever that is; tells `wakes` whom to wake afterwards. */
export function writer(env: WriterEnvironment, db: Queryable, cause: Cause, wakes: Wakes): Writer {
  const { core, log } = env
  async function publishAll(
    definition: EventDefinition,
    data: readonly unknown[],
    options: PublishOptions,
  ): Promise<string[]> {
    if (data.length === 0) return []
    const encoded = await encodeEvents(core, definition, data, {
      ...cause,
      ...options,
    })
    const appended = await log.append(encoded, { tx: db })
    for (const { topicId } of appended) wakes.topic(topicId)
    return encoded.map(({ id }) => id)
  }
  async function insertAll(
    definition: InsertableJob,
    args: readonly unknown[],
    options: InsertOptions,
  ): Promise<string[]> {
    if (args.length === 0) return []
    const jobs = args.map((one) => newJob(core, definition, one, { ...options, meta: cause }))
    const inserted = await insertJobs(db, jobs)
    wakes.queues(inserted.wakes)
    return [...inserted.ids]
  }
  return {
    publish: async (definition, data, options = {}) =>
      (await publishAll(definition, [data], options))[0] as string,
    publishMany: (definition, data, options = {}) => publishAll(definition, data, options),
    insert: async (definition, args, options = {}) =>
      (await insertAll(definition, [args], options))[0] as string,
    insertMany: (definition, args, options = {}) => insertAll(definition, args, options),
  }
}

/** `tx` with everything that millrace can write in it; whoever waits for it is woken after the commit. */
export function millraceTransaction(
  env: WriterEnvironment,
  tx: Transaction,
  cause: Cause,
): MillraceTransaction {
  const wakes = new Wakes()
  tx.afterCommit(() => wakes.send(env))
  return { query: (text, values) => tx.query(text, values), ...writer(env, tx, cause, wakes) }
}
