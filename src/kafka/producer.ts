import { StopReason } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { within } from '../core/within.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import { unknownAppend, unknownTopic } from '../log/log-errors.ts'
import { placeOf } from '../log/partitioner.ts'
import type { AppendedRecord, NewRecord, Topic } from '../log/port.ts'
import { keyOf } from './buffers.ts'
import type { Cluster, Found, TopicView } from './cluster.ts'
import type { Compression } from './codecs.ts'
import type { Connections } from './connections.ts'
import { PartitionProducer, type Entry } from './partition-producer.ts'
import { ProduceSender } from './produce-sender.ts'
import { ProducerIds } from './producer-ids.ts'
import { recordSize } from './record-batch-writer.ts'

/** Options of {@link Producer}. */
export interface ProducerOptions {
  readonly core: Core
  readonly cluster: Cluster
  readonly connections: Connections
  readonly compression: Compression
  /** After so many milliseconds an append is given up. */
  readonly deliveryTimeoutMs: number
  readonly requestTimeoutMs: number
}

type Place = Omit<AppendedRecord, 'offset'>

/** Most bytes of a batch before compression: below what brokers allow unless told otherwise. */
const BATCH_BYTES = 1_000_000
/** Most bytes that wait to be written. */
const QUEUED_BYTES = 256 * 1_048_576
/** How long to wait for the topics as they are now before those last seen must do, in milliseconds. */
const LOOK_MS = 300
/** Time between two looks for a topic when no broker answers, in milliseconds. */
const LOOK_AGAIN_MS = 200
/** How long what is under way is waited for at the end, in milliseconds. */
const CLOSE_MS = 5_000

/**
 * Appends records: in order per partition, each once (an idempotent producer, acknowledged by all replicas in sync), those
 * of concurrent calls together.
 */
export class Producer {
  readonly #options: ProducerOptions
  readonly #ids: ProducerIds
  readonly #sender: ProduceSender
  readonly #partitions = new Map<string, PartitionProducer>()
  readonly #closing = new AbortController()
  readonly #underWay = new Set<Promise<unknown>>()
  #queued = 0
  #closed = false

  constructor(options: ProducerOptions) {
    this.#options = options
    this.#ids = new ProducerIds(options.cluster)
    this.#sender = new ProduceSender(options.connections, options.requestTimeoutMs)
  }

  /** See `Log.append`. */
  append(records: readonly NewRecord[]): Promise<AppendedRecord[]> {
    const appending = this.#append(records)
    this.#underWay.add(appending)
    const done = (): void => {
      this.#underWay.delete(appending)
    }
    appending.then(done, done)
    return appending
  }

  async #append(records: readonly NewRecord[]): Promise<AppendedRecord[]> {
    if (this.#closed) {
      throw new MillraceError('E_LOG_UNAVAILABLE', 'not written: the log was closed')
    }
    const { core } = this.#options
    const deadline = core.clock.monotonicMs() + this.#options.deliveryTimeoutMs
    const topics = await this.#topics(new Set(records.map(({ topic }) => topic)), deadline)
    const places = records.map((record) =>
      placeOf(record, topics.get(record.topic) as Topic, core.random),
    )
    const sizes = records.map(recordSize)
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    if (this.#queued + bytes > QUEUED_BYTES) {
      throw new MillraceError(
        'E_LOG_UNAVAILABLE',
        `not written: ${this.#queued} bytes wait to be written already, and at most ${QUEUED_BYTES} may`,
        { retryable: true, details: { queued: this.#queued, bytes } },
      )
    }
    this.#queued += bytes
    try {
      return await this.#write(records, places, sizes, deadline)
    } finally {
      this.#queued -= bytes
    }
  }

  /** Waits a while for what is under way; what is not done then is given up. */
  async close(): Promise<void> {
    this.#closed = true
    const { clock } = this.#options.core
    const idle = Promise.allSettled(this.#underWay)
    const { signal } = new AbortController()
    // What takes longer is told that nobody knows.
    await within(idle, { clock, timeoutMs: CLOSE_MS, signal }).catch(() => {})
    this.#closing.abort(new StopReason('the log was closed'))
    await idle
  }

  #write(
    records: readonly NewRecord[],
    places: readonly Place[],
    sizes: readonly number[],
    deadline: number,
  ): Promise<AppendedRecord[]> {
    return new Promise((resolve, reject) => {
      const appended = new Map<number, AppendedRecord>()
      let refused: MillraceError | undefined
      let unknown: MillraceError | undefined
      let left = records.length
      const settle = (): void => {
        left -= 1
        if (left > 0) return
        const error = unknown ?? refused
        if (error === undefined) {
          resolve(records.map((_, index) => appended.get(index) as AppendedRecord))
        } else if (unknown === undefined && appended.size === 0) reject(error)
        else reject(unknownAppend(records.length, appended, unknown !== undefined, error))
      }
      const isMoot = (): boolean => (unknown ?? refused) !== undefined
      const byPartition = new Map<string, { producer: PartitionProducer; entries: Entry[] }>()
      for (const [index, record] of records.entries()) {
        const place = places[index] as Place
        const key = keyOf(place.topicId, place.partition)
        let one = byPartition.get(key)
        if (one === undefined) {
          one = { producer: this.#partition(record.topic, place), entries: [] }
          byPartition.set(key, one)
        }
        one.entries.push({
          record,
          size: sizes[index] as number,
          deadline,
          isMoot,
          written: (offset) => {
            appended.set(index, { ...place, offset })
            settle()
          },
          refused: (error) => {
            refused ??= error
            settle()
          },
          unknown: (error) => {
            unknown ??= error
            settle()
          },
        })
      }
      for (const { producer, entries } of byPartition.values()) producer.push(entries)
    })
  }

  #partition(topic: string, { topicId, partition }: Place): PartitionProducer {
    const key = keyOf(topicId, partition)
    const known = this.#partitions.get(key)
    if (known !== undefined) return known
    const { core, cluster, compression } = this.#options
    const made = new PartitionProducer({
      core,
      cluster,
      compression,
      ids: this.#ids,
      sender: this.#sender,
      maxBatchBytes: BATCH_BYTES,
      signal: this.#closing.signal,
      topic,
      topicId,
      partition,
    })
    this.#partitions.set(key, made)
    return made
  }

  /**
   * The topics as they are now: records are written to names, and a name may stand for another topic than a moment ago.
   * When nobody answers in time, as they were last seen; those never seen are asked for until the deadline.
   */
  async #topics(names: ReadonlySet<string>, deadline: number): Promise<Map<string, Topic>> {
    const { core, cluster } = this.#options
    const known = [...names].map((name) => cluster.knownByName(name))
    const look = cluster.look({ names })
    let views: (TopicView | undefined)[]
    if (known.includes(undefined)) {
      const found = await this.#insist(look, names, deadline)
      views = [...names].map((name) => found.get(name))
    } else {
      const { signal } = this.#closing
      const found = await within(look, { clock: core.clock, timeoutMs: LOOK_MS, signal }).catch(
        () => undefined,
      )
      views = found === undefined ? known : [...names].map((name) => found.get(name))
    }
    const topics = new Map<string, Topic>()
    for (const view of views) {
      if (view === undefined) continue
      const { id, name, partitions } = view
      topics.set(name, { id, name, partitions: partitions.length })
    }
    const unknown = [...names].filter((name) => !topics.has(name))
    if (unknown.length > 0) throw unknownTopic(unknown)
    return topics
  }

  /** Looks again while no broker answers, until the deadline. */
  async #insist(
    first: Promise<Found>,
    names: ReadonlySet<string>,
    deadline: number,
  ): Promise<Found> {
    const { clock } = this.#options.core
    for (let look = first; ; look = this.#options.cluster.look({ names })) {
      try {
        return await look
      } catch (error) {
        if (!isUnreachable(error) || clock.monotonicMs() >= deadline) throw error
        await clock.sleep(LOOK_AGAIN_MS, { signal: this.#closing.signal })
      }
    }
  }
}

function isUnreachable(error: unknown): boolean {
  return isMillraceError(error) && error.code === 'E_LOG_CONNECT'
}
