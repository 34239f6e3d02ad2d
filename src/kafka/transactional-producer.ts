import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import { unknownTopic } from '../log/log-errors.ts'
import { partitionOf } from '../log/partitioner.ts'
import type { RelayedRecord, RelayIdentity, RelayProducer } from '../log/relay-port.ts'
import type { ConnectOptions } from './broker-connection.ts'
import type { Broker, Cluster, Found, TopicView } from './cluster.ts'
import type { Compression } from './codecs.ts'
import { Connections } from './connections.ts'
import { produceApi, type ProduceBatch } from './produce-api.ts'
import { isTransient, KAFKA_ERROR } from './protocol.ts'
import { recordSize, writeBatch } from './record-batch-writer.ts'
import { RelayCursors, type CursorPlace } from './relay-cursors.ts'
import {
  producerError,
  refusedError,
  TransactionCoordinator,
  type ProducerNumbers,
} from './transaction-coordinator.ts'

/** What a {@link TransactionalProducer} works with. */
export interface TransactionalProducerOptions {
  readonly core: Core
  readonly cluster: Cluster
  /** How brokers are reached. It has connections of its own. */
  readonly connect: ConnectOptions
  readonly compression: Compression
  /** Of the topic of the cursors, when it is made; `undefined`: as the cluster says. */
  readonly replicationFactor: number | undefined
  readonly identity: RelayIdentity
}

/** How long the brokers may take to write a batch, in milliseconds. */
const PRODUCE_MS = 10_000
/** How old what is known of a topic may be, in milliseconds: as soon its new partitions are used. */
const TOPIC_AGE_MS = 60_000
/** Kafka's default limit of a batch, less what a header takes. */
const BATCH_BYTES = 1_000_000
const LEAST_BATCH_BYTES = 1_000
const TOO_LARGE: ReadonlySet<number> = new Set([
  KAFKA_ERROR.messageTooLarge,
  KAFKA_ERROR.recordListTooLarge,
])
/** What is wrong with a record, or with where it goes, and not with us or with the brokers. */
const OF_RECORDS: ReadonlySet<number> = new Set([
  ...TOO_LARGE,
  KAFKA_ERROR.invalidTopic,
  KAFKA_ERROR.topicAuthorizationFailed,
  KAFKA_ERROR.invalidTimestamp,
  KAFKA_ERROR.unsupportedForMessageFormat,
  KAFKA_ERROR.policyViolation,
  KAFKA_ERROR.invalidRecord,
])

interface Session extends ProducerNumbers {
  readonly place: CursorPlace
}

/** The records of one partition, in order. */
interface Lot {
  readonly topic: TopicView
  readonly partition: number
  readonly records: RelayedRecord[]
}

/** Some records of a lot that go into one batch. */
interface Part {
  readonly lot: Lot
  readonly from: number
  readonly to: number
}

/** A batch that its topic does not take. */
interface Refusal {
  readonly topic: string
  readonly records: number
  /** Kafka's error code. */
  readonly code: number
  readonly message: string | undefined
}

/**
 * Writes records and a relay's cursor in transactions of Kafka, under a transactional id that belongs to the shard.
 *
 * Everything in a transaction happens one after the other, and whatever does not go as it should ends this producer. Only
 * a batch that its topic does not take is answered here: the transaction is aborted, and when the batch was too large,
 * written again in smaller batches. So nothing is ever repeated whose outcome would have to be guessed.
 */
export class TransactionalProducer implements RelayProducer {
  readonly #core: Core
  readonly #cluster: Cluster
  readonly #connections: Connections
  readonly #cursors: RelayCursors
  readonly #id: string
  readonly #compression: Compression
  readonly #coordinator: TransactionCoordinator
  readonly #topics = new Map<string, { readonly view: TopicView; readonly untilMs: number }>()
  /** The next sequence number, by topic id and partition. */
  readonly #sequences = new Map<string, number>()
  #batchBytes = BATCH_BYTES
  #session: Session | undefined

  constructor(options: TransactionalProducerOptions) {
    const { core, cluster, connect, compression, replicationFactor, identity } = options
    const connections = new Connections(core, connect)
    this.#core = core
    this.#cluster = cluster
    this.#connections = connections
    this.#compression = compression
    this.#cursors = new RelayCursors({ core, cluster, connections, replicationFactor, identity })
    this.#id = `millrace.outbox.${identity.id}.${identity.shard}`
    this.#coordinator = new TransactionCoordinator(core, cluster, connections, this.#id)
  }

  async open({ signal }: { readonly signal?: AbortSignal } = {}): Promise<string | null> {
    const place = await this.#cursors.place()
    const numbers = await this.#coordinator.takeOver(signal)
    this.#session = { ...numbers, place }
    await failpoint('relay:fenced')
    return this.#cursors.last(place, signal)
  }

  async produce(records: readonly RelayedRecord[], cursor: string): Promise<void> {
    const { topic, partition } = this.#opened().place
    const timestamp = this.#core.clock.now()
    const value = Buffer.from(cursor)
    const lots = await this.#lots([
      ...records,
      { topic, partition, key: this.#cursors.key, value, headers: [], timestamp },
    ])
    for (;;) {
      await this.#begin(lots)
      const refusal = await this.#write(lots)
      if (refusal === undefined) break
      await this.#coordinator.end('abort')
      const { topic: name, records: count, code, message } = refusal
      if (!TOO_LARGE.has(code)) throw refusedError(name, code, message)
      if (count === 1 || this.#batchBytes <= LEAST_BATCH_BYTES) throw tooLargeError(name)
      this.#batchBytes = Math.floor(this.#batchBytes / 2)
    }
    await failpoint('relay:produced')
    await this.#coordinator.end('commit')
  }

  async close(): Promise<void> {
    this.#session = undefined
    await this.#connections.close()
  }

  #opened(): Session {
    if (this.#session !== undefined) return this.#session
    throw new MillraceError('E_LOG_UNAVAILABLE', 'this producer is not open', { retryable: true })
  }

  /** The records by partition, in order. */
  async #lots(records: readonly RelayedRecord[]): Promise<Lot[]> {
    const views = await this.#views(new Set(records.map(({ topic }) => topic)))
    const lots = new Map<TopicView, (Lot | undefined)[]>()
    for (const topic of views.values()) lots.set(topic, [])
    for (const record of records) {
      const topic = views.get(record.topic) as TopicView
      const ofTopic = lots.get(topic) as (Lot | undefined)[]
      const count = topic.partitions.length
      const partition = record.partition ?? partitionOf(record.key, count, this.#core.random)
      if (partition >= count) throw unknownTopic([`${record.topic}/${partition}`])
      const lot = ofTopic[partition]
      if (lot === undefined) ofTopic[partition] = { topic, partition, records: [record] }
      else lot.records.push(record)
    }
    return [...lots.values()].flatMap((some) => some.filter((lot) => lot !== undefined))
  }

  /** @throws E_LOG_UNKNOWN_TOPIC naming those that do not exist. */
  async #views(names: ReadonlySet<string>): Promise<ReadonlyMap<string, TopicView>> {
    const nowMs = this.#core.clock.monotonicMs()
    const views = new Map<string, TopicView>()
    const stale: string[] = []
    for (const name of names) {
      const known = this.#topics.get(name)
      if (known !== undefined && known.untilMs > nowMs) views.set(name, known.view)
      else stale.push(name)
    }
    if (stale.length === 0) return views
    const found = await this.#cluster.look({ names: stale })
    const missing: string[] = []
    for (const name of stale) {
      const view = this.#found(found, name)
      if (view === undefined) {
        missing.push(name)
        continue
      }
      views.set(name, view)
      this.#topics.set(name, { view, untilMs: nowMs + TOPIC_AGE_MS })
    }
    if (missing.length > 0) throw unknownTopic(missing)
    return views
  }

  #found(found: Found, name: string): TopicView | undefined {
    try {
      return found.get(name)
    } catch (error) {
      if (!isMillraceError(error) || error.code !== 'E_LOG_REFUSED' || this.#isOurs(name))
        throw error
      const { message, details } = error
      throw new MillraceError('E_EVENT_REFUSED', message, { details, cause: error })
    }
  }

  /** Whether it is the topic of the cursors: what is wrong there is no fault of a record. */
  #isOurs(name: string): boolean {
    return name === this.#opened().place.topic
  }

  async #begin(lots: readonly Lot[]): Promise<void> {
    const topics = [...Map.groupBy(lots, ({ topic }) => topic.name)].map(([name, some]) => ({
      name,
      partitions: some.map(({ partition }) => partition),
    }))
    try {
      await this.#coordinator.begin(topics)
    } catch (error) {
      // What was known of them is not true any more.
      this.#topics.clear()
      if (!isMillraceError(error) || error.code !== 'E_EVENT_REFUSED') throw error
      if (!this.#isOurs(String(error.details['topic']))) throw error
      throw new MillraceError('E_LOG_REFUSED', error.message, { cause: error })
    }
  }

  /** Writes all, round by round: a batch of each partition, at all leaders at once. */
  async #write(lots: readonly Lot[]): Promise<Refusal | undefined> {
    let rest = lots.map((lot) => ({ lot, from: 0 }))
    while (rest.length > 0) {
      const parts = rest.map(({ lot, from }) => ({ lot, from, to: this.#upTo(lot, from) }))
      const led = Map.groupBy(parts, ({ lot }) => this.#leader(lot))
      const answers = await Promise.all([...led].map(([broker, some]) => this.#send(broker, some)))
      const refusal = answers.find((answer) => answer !== undefined)
      if (refusal !== undefined) return refusal
      rest = parts
        .filter(({ lot, to }) => to < lot.records.length)
        .map(({ lot, to }) => ({ lot, from: to }))
    }
    return undefined
  }

  #upTo({ records }: Lot, from: number): number {
    let bytes = 0
    for (let at = from; at < records.length; at += 1) {
      bytes += recordSize(records[at] as RelayedRecord)
      if (bytes > this.#batchBytes && at > from) return at
    }
    return records.length
  }

  #leader({ topic, partition }: Lot): Broker {
    const leader = this.#cluster.leader(topic.id, partition)
    if ('broker' in leader) return leader.broker
    this.#topics.delete(topic.name)
    const why = 'unavailable' in leader ? leader.unavailable : `partition ${partition} is unknown`
    const text = `topic '${topic.name}': ${why}`
    throw new MillraceError('E_LOG_UNAVAILABLE', text, { retryable: true })
  }

  async #send(broker: Broker, parts: readonly Part[]): Promise<Refusal | undefined> {
    const { producerId, epoch } = this.#opened()
    const batches = parts.map(({ lot, from, to }): ProduceBatch => {
      const sequence = this.#sequences.get(placeOf(lot)) ?? 0
      const numbers = { producerId, epoch, sequence, transactional: true }
      const bytes = writeBatch(lot.records.slice(from, to), 0, this.#compression, numbers)
      return { topic: lot.topic.name, partition: lot.partition, bytes }
    })
    const connection = this.#connections.to(broker, 'produce')
    const answers = await connection.callRaw(produceApi(batches, PRODUCE_MS, this.#id))
    let refusal: Refusal | undefined
    for (const { lot, from, to } of parts) {
      const { name } = lot.topic
      const answer = answers.find((one) => one.topic === name && one.partition === lot.partition)
      const code = answer?.error ?? KAFKA_ERROR.unknownTopicOrPartition
      if (code === KAFKA_ERROR.none) {
        const sequence = this.#sequences.get(placeOf(lot)) ?? 0
        this.#sequences.set(placeOf(lot), (sequence + to - from) % 2 ** 31)
      } else if (OF_RECORDS.has(code) && !this.#isOurs(name)) {
        refusal = { topic: name, records: to - from, code, message: answer?.message }
      } else {
        // Perhaps another broker leads it by now.
        if (isTransient(code)) await this.#cluster.topic({ name })
        throw producerError(`topic '${name}', partition ${lot.partition}`, code, answer?.message)
      }
    }
    return refusal
  }
}

function placeOf({ topic, partition }: Lot): string {
  return `${topic.id}/${partition}`
}

function tooLargeError(topic: string): MillraceError {
  return new MillraceError(
    'E_EVENT_TOO_LARGE',
    `a record is larger than topic '${topic}' takes; its max.message.bytes says how much that is`,
    { details: { topic } },
  )
}
