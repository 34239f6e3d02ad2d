import type { Core } from '../core/core.ts'
import { isUuid } from '../core/ids.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { checkRecords, checkRequests, checkTopic, DEFAULT_PARTITIONS } from '../log/checks.ts'
import { existingTopic, unknownTopic } from '../log/log-errors.ts'
import type {
  AppendedRecord,
  CommittedPosition,
  NewRecord,
  PartitionOffsets,
  ReadOptions,
  ReadRequest,
  ReadResult,
  Topic,
} from '../log/port.ts'
import type { RelayIdentity, RelayLog, RelayProducer } from '../log/relay-port.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { Buffers } from './buffers.ts'
import type { Address, ConnectOptions } from './broker-connection.ts'
import { Cluster } from './cluster.ts'
import type { Compression } from './codecs.ts'
import { Connections } from './connections.ts'
import { Fetching } from './fetching.ts'
import { OffsetHints } from './offset-hints.ts'
import { Offsets } from './offsets.ts'
import { Producer } from './producer.ts'
import { Reader } from './reader.ts'
import { aloneSize } from './record-batch-writer.ts'
import { isCursorTopic } from './relay-cursors.ts'
import { Topics, type TopicOptions } from './topics.ts'
import { TransactionalProducer } from './transactional-producer.ts'

/** What the log works with; see `kafka` for what each is, and its default. */
export interface KafkaLogOptions {
  readonly core: Core
  readonly brokers: readonly Address[]
  readonly connect: ConnectOptions
  readonly topics: TopicOptions
  readonly compression: Compression
  readonly maxRecordBytes: number
  readonly deliveryTimeoutMs: number
  readonly maxBufferedBytes: number
  readonly maxBatchBytes: number
}

/**
 * The log in Apache Kafka. Records are read as Kafka's own consumers read what is committed, from explicit offsets and
 * without a consumer group; they are written by an idempotent producer. Topics are known by their ids: a topic that was
 * deleted and made again is another one.
 */
export class KafkaLog implements RelayLog {
  readonly kind = 'kafka'
  readonly transactional = false
  readonly #connections: Connections
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #offsets: Offsets
  readonly #buffers: Buffers
  readonly #fetching: Fetching
  readonly #reader: Reader
  readonly #producer: Producer
  readonly #hints: OffsetHints
  readonly #options: KafkaLogOptions
  readonly #listeners = new Set<(topicIds: readonly string[]) => void>()
  #closing: Promise<void> | undefined

  private constructor(options: KafkaLogOptions) {
    const { core, maxBufferedBytes } = options
    const connections = new Connections(core, options.connect)
    const cluster = new Cluster(core, connections, options.brokers)
    const shared = { core, cluster, connections }
    this.#connections = connections
    this.#cluster = cluster
    this.#topics = new Topics(core, cluster, connections, options.topics)
    this.#offsets = new Offsets(core, cluster, connections)
    this.#buffers = new Buffers(maxBufferedBytes)
    this.#fetching = new Fetching({
      ...shared,
      offsets: this.#offsets,
      buffers: this.#buffers,
      maxBufferedBytes,
      maxBatchBytes: options.maxBatchBytes,
      onNews: (topicId) => this.#tell([topicId]),
    })
    this.#reader = new Reader(core, this.#buffers, this.#fetching)
    this.#producer = new Producer({
      ...shared,
      compression: options.compression,
      deliveryTimeoutMs: options.deliveryTimeoutMs,
      requestTimeoutMs: options.connect.requestTimeoutMs,
    })
    this.#hints = new OffsetHints(core, cluster, connections)
    this.#options = options
  }

  /**
   * A log on a cluster that answers.
   * @throws E_LOG_CONNECT, E_LOG_VERSION
   */
  static async open(options: KafkaLogOptions): Promise<KafkaLog> {
    const log = new KafkaLog(options)
    try {
      await log.#cluster.open()
      return log
    } catch (error) {
      await log.close()
      throw error
    }
  }

  get cluster(): string | undefined {
    return this.#cluster.id
  }

  async createTopic(name: string, options: { readonly partitions?: number } = {}): Promise<Topic> {
    const { partitions } = options
    checkTopic(name, partitions)
    const topic =
      (await this.topic(name)) ??
      (await this.#topics.create(name, partitions ?? DEFAULT_PARTITIONS))
    return existingTopic(topic, partitions)
  }

  async deleteTopic(name: string): Promise<void> {
    const id = await this.#topics.delete(name)
    if (id !== undefined) this.#buffers.forget(id)
  }

  async topic(name: string): Promise<Topic | undefined> {
    return this.#topics.find(name)
  }

  /** All topics but those in which relays keep their cursors. */
  async topics(): Promise<readonly Topic[]> {
    return (await this.#topics.list()).filter(({ name }) => !isCursorTopic(name))
  }

  async offsets(
    topicId: string,
    { partitions }: { readonly partitions?: readonly number[] } = {},
  ): Promise<readonly PartitionOffsets[]> {
    return isUuid(topicId) ? this.#offsets.ranges(topicId, partitions) : []
  }

  async offsetAt(topicId: string, partition: number, time: Date): Promise<bigint> {
    const answer = isUuid(topicId) ? await this.#offsets.at(topicId, partition, time) : undefined
    if (answer === undefined) throw unknownTopic([`${topicId}/${partition}`])
    if ('offset' in answer) return answer.offset
    throw new MillraceError(
      'E_LOG_UNAVAILABLE',
      `nobody can say what lies where in partition ${partition} of the topic with id ${topicId}: ${answer.unavailable}`,
      { retryable: true, details: { topicId, partition } },
    )
  }

  async read(
    requests: readonly ReadRequest[],
    options: ReadOptions = {},
  ): Promise<readonly ReadResult[]> {
    checkRequests(requests)
    return this.#reader.read(requests, options)
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
    if (options.tx !== undefined) {
      throw new MillraceError(
        'E_LOG_NOT_TRANSACTIONAL',
        'Kafka cannot be written to in a database transaction: publish through the outbox, or append without `tx`',
      )
    }
    if (records.length === 0) return []
    const appended = await this.#producer.append(records)
    this.#tell([...new Set(appended.map(({ topicId }) => topicId))])
    return appended
  }

  async purge(topicId: string, partition: number, beforeOffset: bigint): Promise<bigint> {
    const [range] = isUuid(topicId) ? await this.#offsets.ranges(topicId, [partition]) : []
    if (range === undefined) throw unknownTopic([`${topicId}/${partition}`])
    if (range.unavailable !== undefined) {
      throw new MillraceError('E_LOG_UNAVAILABLE', `nothing was purged: ${range.unavailable}`, {
        retryable: true,
      })
    }
    if (beforeOffset <= range.start) return range.start
    const before = beforeOffset < range.end ? beforeOffset : range.end
    const start = await this.#topics.purge(topicId, partition, before)
    this.#buffers.forget(topicId, partition)
    return start
  }

  async noteCommitted(
    application: string,
    positions: readonly CommittedPosition[],
  ): Promise<boolean> {
    return positions.length === 0 || this.#hints.send(application, positions)
  }

  checkRelayed(records: readonly NewRecord[]): void {
    const limit = this.#options.maxRecordBytes
    for (const record of records) {
      const bytes = aloneSize(record, limit)
      if (bytes <= limit) continue
      const { topic } = record
      throw new MillraceError(
        'E_EVENT_TOO_LARGE',
        `a record for topic '${topic}' takes ${bytes} bytes with its key and headers, and at most ${limit} are allowed (maxRecordBytes of kafka): make it smaller, or raise that and the topic's max.message.bytes`,
        { details: { topic, bytes, limit } },
      )
    }
  }

  relayProducer(identity: RelayIdentity): RelayProducer {
    const { core, connect, compression, topics } = this.#options
    return new TransactionalProducer({
      core,
      cluster: this.#cluster,
      connect,
      compression,
      replicationFactor: topics.replicationFactor,
      identity,
    })
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#listeners.clear()
    this.#reader.close()
    const fetched = this.#fetching.close()
    await this.#producer.close()
    // What is still being waited for ends with its connection.
    await this.#connections.close()
    await fetched
  }

  #tell(topicIds: readonly string[]): void {
    for (const listener of this.#listeners) listener(topicIds)
  }
}
