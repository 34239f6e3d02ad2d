import { createHash } from 'node:crypto'
import { Admin, ListOffsetTimestamps } from '@platformatic/kafka'
import { Kafka, logLevel, type Consumer } from 'kafkajs'
import { cleanup, type TestScope } from '../cleanup.ts'
import { readCommitted } from '../outbox.ts'
import { placeOf, type Dumps, type RecordDump } from './dumps.ts'

/** A topic of Kafka as it is now. */
export interface ObservedTopic {
  readonly id: string
  /** Where each partition begins and ends. */
  readonly partitions: readonly { readonly start: bigint; readonly end: bigint }[]
}

/**
 * Looks at a topic of Kafka with other clients than ours: KafkaJS reads what is committed, in a group of its own; where relays
 * write transactions Apache's Java client does, for KafkaJS was seen to give what was aborted as well. What it has seen it
 * remembers, so that it can tell of records that are purged, or whose topic is deleted, or that the log has lost, later.
 */
export class KafkaObserver {
  readonly #topic: string
  readonly #brokers: readonly string[]
  readonly #transactional: boolean
  readonly #admin: Admin
  readonly #kafka: Kafka
  readonly #seen = new Map<string, RecordDump>()
  readonly #ends = new Map<string, bigint>()
  readonly #lost: RecordDump[] = []
  /** Where the log was written anew, by partition, and the generation that is the first to read what stands there. */
  readonly #anew = new Map<string, { readonly from: bigint; readonly since: number }>()

  constructor(
    t: TestScope,
    brokers: readonly string[],
    topic: string,
    { transactional = false }: { readonly transactional?: boolean } = {},
  ) {
    this.#topic = topic
    this.#brokers = brokers
    this.#transactional = transactional
    this.#admin = new Admin({
      clientId: 'observer',
      bootstrapBrokers: [...brokers],
      retries: 0,
      connectTimeout: 2_000,
      requestTimeout: 5_000,
    })
    cleanup(t, async () => this.#admin.close())
    this.#kafka = new Kafka({
      clientId: 'observer',
      brokers: [...brokers],
      logLevel: logLevel.NOTHING,
    })
  }

  /** The topic of that name as it is now. */
  async topic(): Promise<ObservedTopic> {
    const found = await this.#find()
    const [start, end] = await Promise.all(
      [ListOffsetTimestamps.EARLIEST, ListOffsetTimestamps.LATEST].map(async (timestamp) => {
        const partitions = Array.from({ length: found.partitionsCount }, (_, partitionIndex) => ({
          partitionIndex,
          timestamp,
        }))
        const [listed] = await this.#admin.listOffsets({
          topics: [{ name: this.#topic, partitions }],
        })
        return new Map(listed?.partitions.map((one) => [one.partitionIndex, one.offset]))
      }),
    )
    return {
      id: found.id,
      partitions: Array.from({ length: found.partitionsCount }, (_, partition) => ({
        start: start?.get(partition) ?? 0n,
        end: end?.get(partition) ?? 0n,
      })),
    }
  }

  /** Next offsets that Kafka has committed for an application, by partition of the topic that has that name now. */
  async committed(
    application: string,
  ): Promise<{ readonly topicId: string; readonly offsets: ReadonlyMap<number, bigint> }> {
    const { id: topicId } = await this.#find()
    const [group] = await this.#admin.listConsumerGroupOffsets({ groups: [application] })
    const ofTopic = group?.topics.find(({ name }) => name === this.#topic)?.partitions ?? []
    // Made anew meanwhile, nobody can say whose they were.
    const isSame = (await this.#find()).id === topicId
    const offsets = ofTopic.filter(({ committedOffset }) => isSame && committedOffset >= 0n)
    return {
      topicId,
      offsets: new Map(offsets.map((one) => [one.partitionIndex, one.committedOffset])),
    }
  }

  /** Reads all that the topic has now, from its first record to its last; gives their places. */
  async look(): Promise<ReadonlySet<string>> {
    const { id, partitions } = await this.topic()
    const left = new Set<number>()
    for (const [partition, { start, end }] of partitions.entries()) {
      this.#ends.set(laneOf(id, partition), end)
      if (start < end) left.add(partition)
    }
    const read = left.size === 0 ? [] : await this.#readAll(id, partitions, left)
    for (const record of read) this.#seen.set(placeOf(record), record)
    return new Set(read.map(placeOf))
  }

  async #readAll(
    id: string,
    partitions: ObservedTopic['partitions'],
    left: Set<number>,
  ): Promise<readonly RecordDump[]> {
    if (this.#transactional) return this.#readWithJava(id)
    const consumer = this.#kafka.consumer({
      groupId: `observer-${id}-${this.#seen.size}-${Date.now()}`,
      maxWaitTimeInMs: 100,
    })
    await consumer.connect()
    try {
      return await this.#read(consumer, id, partitions, left)
    } finally {
      await consumer.disconnect()
    }
  }

  /**
   * A partition has lost its tail while it was read in a generation, and nothing was written since: what was seen of it from
   * where it ends now on belongs to that generation, what is seen there later to the next ones. Gives both ends.
   */
  async loseTail(
    partition: number,
    generation: number,
  ): Promise<{ readonly before: bigint; readonly after: bigint }> {
    const { id, partitions } = await this.topic()
    const lane = laneOf(id, partition)
    const before = this.#ends.get(lane) ?? 0n
    const after = partitions[partition]?.end ?? 0n
    for (const [place, record] of this.#seen) {
      if (laneOf(record.topicId, record.partition) !== lane || record.offset < after) continue
      this.#seen.delete(place)
      this.#lost.push({ ...record, until: generation })
    }
    this.#anew.set(lane, { from: after, since: generation + 1 })
    return { before, after }
  }

  /**
   * The topic was compacted since it was looked at, and nobody read meanwhile: what is gone, and was not below `next` of its
   * partition, nobody will ever read. Gives how many are gone, read and unread.
   * @throws when one is gone that has no later one of its key.
   */
  async compacted(
    next: ReadonlyMap<number, bigint>,
  ): Promise<{ readonly read: number; readonly unread: number }> {
    const there = await this.look()
    const counts = { read: 0, unread: 0 }
    for (const [place, record] of this.#seen) {
      if (there.has(place)) continue
      const { partition, key, offset } = record
      const isReplaced = [...this.#seen.values()].some(
        (one) => one.partition === partition && one.key === key && one.offset > offset,
      )
      if (key === null || !isReplaced)
        throw new Error(`${place} is gone, and was the last of ${key}`)
      const isUnread = offset >= (next.get(partition) ?? 0n)
      counts[isUnread ? 'unread' : 'read'] += 1
      if (isUnread) this.#seen.set(place, { ...record, until: -1 })
    }
    return counts
  }

  /** The dumps of the database, with what stands in Kafka. */
  complete(dumps: Dumps): Dumps {
    const records = [...this.#seen.values(), ...this.#lost].sort((a, b) =>
      a.offset < b.offset ? -1 : 1,
    )
    const positions = dumps.positions.map((position) => ({
      ...position,
      end: this.#ends.get(laneOf(position.topicId, position.partition)) ?? 0n,
    }))
    return { ...dumps, records, positions }
  }

  async #find(): Promise<{ readonly id: string; readonly partitionsCount: number }> {
    const { topics } = await this.#admin.metadata({ topics: [this.#topic], forceUpdate: true })
    const found = topics.get(this.#topic)
    if (found === undefined) throw new Error(`there is no topic ${this.#topic}`)
    return found
  }

  async #readWithJava(topicId: string): Promise<RecordDump[]> {
    const records = await readCommitted(this.#brokers, this.#topic)
    return records.map(({ partition, offset, key, value, headers }) => ({
      topicId,
      partition,
      offset,
      id: String(headers['ce_id']),
      key,
      sha256: sha256(value),
    }))
  }

  async #read(
    consumer: Consumer,
    topicId: string,
    partitions: ObservedTopic['partitions'],
    left: Set<number>,
  ): Promise<readonly RecordDump[]> {
    const read: RecordDump[] = []
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    consumer.on('consumer.crash', ({ payload }) => {
      if (!payload.restart) reject(payload.error)
    })
    // Told of batches too that hold nothing but marks of transactions, or what was aborted.
    consumer.on('consumer.end_batch_process', ({ payload: { partition, lastOffset } }) => {
      if (BigInt(lastOffset) + 1n >= (partitions[partition]?.end ?? 0n)) left.delete(partition)
      if (left.size === 0) resolve()
    })
    await consumer.subscribe({ topics: [this.#topic], fromBeginning: true })
    await consumer.run({
      eachBatch: ({ batch: { partition, messages } }) => {
        const anew = this.#anew.get(laneOf(topicId, partition))
        for (const { offset, key, value, headers } of messages) {
          const record: RecordDump = {
            topicId,
            partition,
            offset: BigInt(offset),
            id: String(headers?.['ce_id']),
            key: key === null ? null : key.toString(),
            sha256: sha256(value),
            ...(anew !== undefined && BigInt(offset) >= anew.from ? { since: anew.since } : {}),
          }
          read.push(record)
        }
        return Promise.resolve()
      },
    })
    await promise
    return read
  }
}

function sha256(value: Uint8Array | string | null): string {
  return createHash('sha256')
    .update(value ?? '')
    .digest('hex')
}

function laneOf(topicId: string, partition: number): string {
  return `${topicId}/${partition}`
}
