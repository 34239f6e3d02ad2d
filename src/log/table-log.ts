import { throwIfAborted } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { isUuid } from '../core/ids.ts'
import type { Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { checkRecords, checkRequests, checkTopic, DEFAULT_PARTITIONS } from './checks.ts'
import { existingTopic, unknownTopic } from './log-errors.ts'
import type {
  AppendedRecord,
  Log,
  NewRecord,
  PartitionOffsets,
  ReadOptions,
  ReadRequest,
  ReadResult,
  Topic,
} from './port.ts'
import { appendRecords } from './table-append.ts'
import { findOffsetAt, findOffsets, purgePartition } from './table-offsets.ts'
import { readRecords } from './table-read.ts'
import { isBrokenConnection } from '../postgres/sqlstate.ts'
import { createTopic, dropTopic, findTopics, isTopicGone, TopicNames } from './table-topics.ts'
import { topicIdsOf, WakeSender } from './wake.ts'

/** What the table log works with. */
export interface TableLogOptions {
  readonly core: Core
  /** Its database has the `millrace` schema. Must lead to the primary, and its transactions must be read committed. */
  readonly pool: Pool
  /** Tells of appends by other processes. Default: readers poll for those. */
  readonly listener?: Listener
}

/**
 * The table log as an option of `start`: events live in the same database as everything else, and are appended in the
 * caller's own transaction.
 */
export function tableLog(): {
  readonly kind: 'table'
  open(options: TableLogOptions): TableLog
} {
  return { kind: 'table', open: (options) => new TableLog(options) }
}

/**
 * The log in a table of Postgres. Offsets come from one sequence per partition, so they grow and have holes. Readers stop
 * below the first offset that an open transaction may still fill, and wait for no other transaction: no commit is ever
 * passed over. How is said at `log_append` and `log_horizon` in the migration.
 */
export class TableLog implements Log {
  readonly kind = 'table'
  readonly transactional = true
  readonly #core: Core
  readonly #pool: Pool
  readonly #names = new TopicNames()
  readonly #listeners = new Set<(topicIds: readonly string[]) => void>()
  readonly #wakes: WakeSender
  readonly #endListening: (() => void) | undefined

  constructor({ core, pool, listener }: TableLogOptions) {
    this.#core = core
    this.#pool = pool
    this.#wakes = new WakeSender(core, this.#db)
    this.#endListening = listener?.on('log', (text) => this.#tell(topicIdsOf(text)))
  }

  get #db(): Queryable {
    return this.#pool
  }

  async createTopic(name: string, options: { readonly partitions?: number } = {}): Promise<Topic> {
    const { partitions } = options
    checkTopic(name, partitions)
    const topic =
      (await this.topic(name)) ??
      (await createTopic(this.#db, this.#core.ids.uuid(), name, partitions ?? DEFAULT_PARTITIONS))
    return existingTopic(topic, partitions)
  }

  async deleteTopic(name: string): Promise<void> {
    const topic = await this.topic(name)
    if (topic === undefined) return
    // In small pieces first: what is left for the one transaction that takes the topic away is what was just appended.
    for (const { partition, end } of await this.offsets(topic.id)) {
      await purgePartition(this.#db, topic.id, partition, end)
    }
    await dropTopic(this.#db, topic.id)
    this.#names.forget([name])
  }

  async topic(name: string): Promise<Topic | undefined> {
    return (await findTopics(this.#db, [name]))[0]
  }

  async topics(): Promise<readonly Topic[]> {
    return findTopics(this.#db)
  }

  async offsets(
    topicId: string,
    { partitions }: { readonly partitions?: readonly number[] } = {},
  ): Promise<readonly PartitionOffsets[]> {
    if (!isUuid(topicId)) return []
    const all = await this.#twice(() => findOffsets(this.#db, topicId))
    return all.filter(({ partition }) => partitions?.includes(partition) ?? true)
  }

  async offsetAt(topicId: string, partition: number, time: Date): Promise<bigint> {
    const offset = isUuid(topicId)
      ? await this.#twice(() => findOffsetAt(this.#db, topicId, partition, time))
      : undefined
    if (offset === undefined) throw unknownTopic([`${topicId}/${partition}`])
    return offset
  }

  async read(
    requests: readonly ReadRequest[],
    options: ReadOptions = {},
  ): Promise<readonly ReadResult[]> {
    checkRequests(requests)
    throwIfAborted(options.signal)
    if (requests.length === 0) return []
    return this.#twice(() => readRecords(this.#pool, requests))
  }

  onAppend(listener: (topicIds: readonly string[]) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  async append(
    records: readonly NewRecord[],
    options: { readonly tx?: Queryable } = {},
  ): Promise<readonly AppendedRecord[]> {
    checkRecords(records)
    if (records.length === 0) return []
    const { tx } = options
    const names = new Set(records.map(({ topic }) => topic))
    // A name may stand for a topic that is gone by now. The failed statement wrote nothing, so it is repeated with what the
    // name stands for now; but not in a transaction, which it has ended.
    for (let first = tx === undefined; ; first = false) {
      const db = tx ?? this.#db
      const topics = await this.#names.resolve(db, names)
      try {
        const appended = await appendRecords(db, this.#core.random, topics, records)
        if (tx === undefined) this.#announce(appended)
        return appended
      } catch (error) {
        if (!isTopicGone(error)) throw error
        this.#names.forget(names)
        if (!first) throw unknownTopic([...names], error)
      }
    }
  }

  async purge(topicId: string, partition: number, beforeOffset: bigint): Promise<bigint> {
    const start = isUuid(topicId)
      ? await purgePartition(this.#db, topicId, partition, beforeOffset)
      : undefined
    if (start === undefined) throw unknownTopic([`${topicId}/${partition}`])
    return start
  }

  async close(): Promise<void> {
    this.#endListening?.()
    this.#listeners.clear()
    await this.#wakes.idle()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #announce(appended: readonly AppendedRecord[]): void {
    const topicIds = [...new Set(appended.map(({ topicId }) => topicId))]
    this.#tell(topicIds)
    this.#wakes.send(topicIds)
  }

  #tell(topicIds: readonly string[]): void {
    for (const listener of this.#listeners) listener(topicIds)
  }

  /**
   * Asks once more what does no harm to ask. A topic deleted while a statement ran makes it fail, for all partitions; asked
   * again, it is simply not there. And one connection that broke says nothing of the next.
   */
  async #twice<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      if (!isTopicGone(error) && !isBrokenConnection(error)) throw error
      return ask()
    }
  }
}
