import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { LogRecord } from '../log/port.ts'
import type { RelayIdentity } from '../log/relay-port.ts'
import type { Cluster } from './cluster.ts'
import type { Connections } from './connections.ts'
import { fetchApi } from './fetch-api.ts'
import { Offsets } from './offsets.ts'
import { errorName, KAFKA_ERROR } from './protocol.ts'
import { Segment } from './segment.ts'
import { Topics } from './topics.ts'

const TOPIC_PREFIX = 'millrace.outbox.'
/** A partition for each shard that can be in use at once: no transaction of another shard holds up the reading. */
const PARTITIONS = 16
/** Small segments, so that compaction soon leaves one record per shard. */
const CONFIGS = {
  'cleanup.policy': 'compact',
  'segment.bytes': '4194304',
  'min.cleanable.dirty.ratio': '0.1',
}
/** How far back the last cursor is looked for first; then farther, in steps twice as long. */
const FIRST_STEP = 1_000n
const FETCH_BYTES = 1_048_576
const MAX_BATCH_BYTES = 16_777_216
/** How long transactions that end are waited for: as long as a broker lets one be open, and some. */
const STABLE_MS = 15_000
const LOOK_AGAIN_MS = 20
const OPEN =
  'a transaction is open in it. If that lasts, a broker has lost its end, as one that runs alone may when it is killed: kafka-transactions.sh find-hanging shows it, and abort ends it'
const NO_KEY = Buffer.alloc(0)

/** Whether it is the topic of the cursors of some installation. */
export function isCursorTopic(name: string): boolean {
  return name.startsWith(TOPIC_PREFIX)
}

/** Where in Kafka the cursor of a shard is. */
export interface CursorPlace {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

/** What {@link RelayCursors} works with. */
export interface RelayCursorsOptions {
  readonly core: Core
  readonly cluster: Cluster
  readonly connections: Connections
  /** Of the topic, when it is made; `undefined`: as the cluster says. */
  readonly replicationFactor: number | undefined
  readonly identity: RelayIdentity
}

/**
 * Cursors of relays, in a compacted topic per installation: a record per transaction, its key the shard. Not committed
 * offsets of a group: those expire when nobody commits for a week, and cost each transaction two more requests.
 */
export class RelayCursors {
  readonly #core: Core
  readonly #cluster: Cluster
  readonly #connections: Connections
  readonly #options: RelayCursorsOptions

  constructor(options: RelayCursorsOptions) {
    this.#core = options.core
    this.#cluster = options.cluster
    this.#connections = options.connections
    this.#options = options
  }

  /** The key of this shard's cursors. */
  get key(): Buffer {
    return Buffer.from(`shard-${this.#options.identity.shard}`)
  }

  /** Where this shard's cursors are; the topic is made if it is missing. */
  async place(): Promise<CursorPlace> {
    const { replicationFactor, identity } = this.#options
    const { id, shard } = identity
    const options = { replicationFactor, configs: CONFIGS }
    const topics = new Topics(this.#core, this.#cluster, this.#connections, options)
    const name = `${TOPIC_PREFIX}${id}`
    const topic = (await topics.find(name)) ?? (await topics.create(name, PARTITIONS))
    return { topic: name, topicId: topic.id, partition: shard % topic.partitions }
  }

  /** The last cursor that was committed; `null`: none ever was. To be asked when nobody writes to the place any more. */
  async last(place: CursorPlace, signal: AbortSignal | undefined): Promise<string | null> {
    const { start, end } = await this.#range(place, signal)
    let below = end
    for (let step = FIRST_STEP; below > start; step *= 2n) {
      const from = below - step > start ? below - step : start
      const found = await this.#lastIn(place, from, below, signal)
      if (found !== undefined) return String(found.value)
      below = from
    }
    return null
  }

  /** Where the partition begins and ends, once no transaction is open in it. */
  async #range(
    { topicId, partition }: CursorPlace,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly start: bigint; readonly end: bigint }> {
    const { clock } = this.#core
    const offsets = new Offsets(this.#core, this.#cluster, this.#connections)
    const deadline = clock.monotonicMs() + STABLE_MS
    for (;;) {
      const [range] = await offsets.ranges(topicId, [partition])
      if (range !== undefined && range.unavailable === undefined) {
        if (range.end === range.appendOffset) return range
      }
      if (clock.monotonicMs() > deadline) {
        const why = range?.unavailable ?? OPEN
        throw unavailable(`the topic of the relays' cursors cannot be read: ${why}`)
      }
      await clock.sleep(LOOK_AGAIN_MS, signal === undefined ? {} : { signal })
    }
  }

  async #lastIn(
    place: CursorPlace,
    from: bigint,
    below: bigint,
    signal: AbortSignal | undefined,
  ): Promise<LogRecord | undefined> {
    let last: LogRecord | undefined
    for (let at = from; at < below; ) {
      signal?.throwIfAborted()
      const { records, next } = await this.#fetch(place, at)
      for (const record of records) {
        if (record.offset < below && this.key.equals(record.key ?? NO_KEY)) last = record
      }
      if (next <= at) {
        throw unavailable(`the topic of the relays' cursors cannot be read at offset ${at}`)
      }
      at = next
    }
    return last
  }

  async #fetch(
    place: CursorPlace,
    offset: bigint,
  ): Promise<{ readonly records: readonly LogRecord[]; readonly next: bigint }> {
    const { topicId, partition } = place
    const leader = this.#cluster.leader(topicId, partition)
    if (!('broker' in leader)) {
      await this.#cluster.topic({ id: topicId })
      throw unavailable("the topic of the relays' cursors has no leader just now")
    }
    const ask = { topicId, partition, offset, leaderEpoch: leader.epoch, maxBytes: FETCH_BYTES }
    const request = { asks: [ask], maxWaitMs: 0, maxBytes: FETCH_BYTES }
    const answer = await this.#connections.to(leader.broker, 'main').callRaw(fetchApi(request))
    const fetched = answer.partitions[0]
    const code = answer.error === KAFKA_ERROR.none ? fetched?.error : answer.error
    if (fetched === undefined || code !== KAFKA_ERROR.none) {
      await this.#cluster.topic({ id: topicId })
      const name = code === undefined ? 'no answer' : errorName(code)
      throw unavailable(`the topic of the relays' cursors cannot be read: ${name}`)
    }
    const segment = new Segment(offset, fetched.records, fetched.aborted, MAX_BATCH_BYTES, 0)
    const records: LogRecord[] = []
    const room = { records: 100_000, bytes: FETCH_BYTES * 64, first: true }
    const { next, corrupt } = segment.read(offset, place, room, records)
    if (corrupt !== undefined) throw unavailable(corrupt.reason)
    return { records, next }
  }
}

function unavailable(message: string): MillraceError {
  return new MillraceError('E_LOG_UNAVAILABLE', message, { retryable: true })
}
