import type { Core } from '../core/core.ts'
import type { Buffers } from './buffers.ts'
import type { Cluster } from './cluster.ts'
import type { FetchAsk } from './fetch-api.ts'
import type { Asked, PartitionBuffer } from './partition-buffer.ts'

/** Options of {@link FetchPlan}. */
export interface FetchPlanOptions {
  readonly core: Core
  readonly cluster: Cluster
  readonly buffers: Buffers
  /** Most bytes that are fetched and not yet read, over all partitions. */
  readonly maxBufferedBytes: number
}

/** Most bytes of one partition in an answer: what brokers allow a batch to have, unless told otherwise. */
const PARTITION_BYTES = 1_048_576
const LEAST_PARTITION_BYTES = 65_536
/** Most bytes of one answer. */
const ANSWER_BYTES = 8_388_608
/** A partition with more than this at hand is not watched, nor one that nobody has read for so many milliseconds. */
const WATCHED_BYTES = 524_288
const WATCHED_MS = 3_000
/** How often in a row a leader may send nothing of what it has before that counts as trouble. */
export const MAX_UNSERVED: number = 8

/** Decides what the next request to a broker asks for: of which partitions, from where, and how much. */
export class FetchPlan {
  readonly #options: FetchPlanOptions

  constructor(options: FetchPlanOptions) {
    this.#options = options
  }

  /** What a broker is asked about next, and how much it may send. What is asked about is noted in the buffers. */
  demands(brokerId: number): { asked: Map<PartitionBuffer, Asked>; maxBytes: number } {
    const { maxBufferedBytes } = this.#options
    const { room } = this.#options.buffers
    const asked = new Map<PartitionBuffer, Asked>()
    const led = [...this.#led(brokerId)].filter(
      ({ buffer }) => buffer.demands.size > 0 && buffer.asked === undefined,
    )
    // The broker fills its answer in the order of the request: who has waited longest comes first.
    led.sort((a, b) => a.buffer.lastFetched - b.buffer.lastFetched)
    for (const { buffer, epoch } of led) {
      const wanted = [...buffer.demands.values()]
      const demand = wanted.find(({ ahead }) => !ahead) ?? wanted[0]
      if (demand === undefined) continue
      buffer.demands.delete(demand.offset)
      // What nobody waits for yet is left when memory is short.
      if (demand.ahead && room < maxBufferedBytes / 4) continue
      const ask = this.#askFor(buffer, demand.offset, epoch)
      const one: Asked = { demand, ask, brokerId, since: this.#options.core.clock.monotonicMs() }
      buffer.asked = one
      asked.set(buffer, one)
    }
    return { asked, maxBytes: clamp(room, PARTITION_BYTES, ANSWER_BYTES) }
  }

  /** At which ends a broker is told to answer as soon as there is something. */
  watches(brokerId: number): { asks: Map<PartitionBuffer, FetchAsk>; maxBytes: number } {
    const { room } = this.#options.buffers
    const asks = new Map<PartitionBuffer, FetchAsk>()
    const now = this.#options.core.clock.monotonicMs()
    for (const { buffer, epoch } of this.#led(brokerId)) {
      const { end, lastRead } = buffer
      if (end === undefined || now - lastRead > WATCHED_MS || buffer.unread > WATCHED_BYTES)
        continue
      buffer.watched = end
      asks.set(buffer, this.#askFor(buffer, end, epoch))
    }
    return { asks, maxBytes: clamp(room, PARTITION_BYTES, ANSWER_BYTES) }
  }

  #askFor(
    { topicId, partition, unserved }: PartitionBuffer,
    offset: bigint,
    leaderEpoch: number,
  ): FetchAsk {
    const share = Math.floor(
      this.#options.maxBufferedBytes / Math.max(1, this.#options.buffers.size),
    )
    const fair = clamp(share, LEAST_PARTITION_BYTES, PARTITION_BYTES)
    const maxBytes = fair * 2 ** Math.min(unserved, MAX_UNSERVED)
    return { topicId, partition, offset, leaderEpoch, maxBytes }
  }

  *#led(brokerId: number): Generator<{ buffer: PartitionBuffer; epoch: number }> {
    for (const buffer of this.#options.buffers) {
      if (buffer.recovering) continue
      const leader = this.#options.cluster.leader(buffer.topicId, buffer.partition)
      if ('broker' in leader && leader.broker.id === brokerId) yield { buffer, epoch: leader.epoch }
    }
  }
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value))
}
