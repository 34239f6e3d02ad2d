import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import type { Broker } from './cluster.ts'
import type { Connections } from './connections.ts'
import { fetchApi, type FetchAsk, type FetchedPartition } from './fetch-api.ts'
import type { Asked, PartitionBuffer } from './partition-buffer.ts'
import { errorName, KAFKA_ERROR } from './protocol.ts'

/** Options of {@link BrokerFetcher}. */
export interface BrokerFetcherOptions {
  readonly core: Core
  readonly broker: Broker
  readonly connections: Connections
  /** What is wanted of the partitions that the broker leads; from then on it is asked. */
  readonly demands: () => {
    readonly asked: ReadonlyMap<PartitionBuffer, Asked>
    readonly maxBytes: number
  }
  /** What is to be watched. */
  readonly watches: () => {
    readonly asks: ReadonlyMap<PartitionBuffer, FetchAsk>
    readonly maxBytes: number
  }
  readonly fetched: (asked: ReadonlyMap<PartitionBuffer, Asked>, answer: BrokerAnswer) => void
  /** Without an answer when there was none. */
  readonly watched: (
    asks: ReadonlyMap<PartitionBuffer, FetchAsk>,
    answer: BrokerAnswer | undefined,
  ) => void
  readonly failed: (asked: ReadonlyMap<PartitionBuffer, Asked>, error: unknown) => void
}

/** What a broker says. */
export interface BrokerAnswer {
  /** Names the broker and the connections to it: another process of it never has the same. */
  readonly source: string
  readonly parts: ReadonlyMap<string, FetchedPartition>
}

/** How long a broker may hold an answer back for the first new record, in milliseconds. */
const WATCH_MS = 250
/** Longest time that a broker's wish to be left alone is heeded, in milliseconds. */
const MOST_THROTTLE_MS = 30_000
const NEVER_MS = 3_600_000

/**
 * Asks one broker, over two connections: what somebody waits for is answered at once, whatever there is; what is at its
 * end is answered when there is something, and must not hold up the former.
 */
export class BrokerFetcher {
  readonly #options: BrokerFetcherOptions
  readonly #fetching: Loop
  readonly #watching: Loop

  constructor(options: BrokerFetcherOptions) {
    this.#options = options
    const { core } = options
    const loop = (turn: () => Promise<number | undefined>): Loop =>
      createLoop({
        clock: core.clock,
        intervalMs: NEVER_MS,
        turn,
        onError: (error) =>
          core.logger.error({ error }, 'what a broker answered was not understood'),
      })
    this.#fetching = loop(() => this.#fetch())
    this.#watching = loop(() => this.#watch())
    this.#fetching.start()
    this.#watching.start()
  }

  isAt({ host, port }: Broker): boolean {
    return this.#options.broker.host === host && this.#options.broker.port === port
  }

  /** There is something wanted. */
  fetch(): void {
    this.#fetching.wake()
  }

  /** There is something to watch. */
  watch(): void {
    this.#watching.wake()
  }

  /** Asks nothing any more; resolves when the last answer is there, or its connection ended. */
  async stop(): Promise<void> {
    await Promise.all([this.#fetching.stop(), this.#watching.stop()])
  }

  async #fetch(): Promise<number | undefined> {
    const { demands, fetched, failed } = this.#options
    const { asked, maxBytes } = demands()
    if (asked.size === 0) return undefined
    let answer
    try {
      answer = await this.#ask(
        'fetch',
        [...asked.values()].map(({ ask }) => ask),
        0,
        maxBytes,
      )
    } catch (error) {
      failed(asked, error)
      return undefined
    }
    fetched(asked, answer)
    return answer.throttleMs
  }

  async #watch(): Promise<number | undefined> {
    const { watches, watched } = this.#options
    const { asks, maxBytes } = watches()
    if (asks.size === 0) return undefined
    let answer
    try {
      answer = await this.#ask('watch', [...asks.values()], WATCH_MS, maxBytes)
    } catch {
      // Whoever reads there asks on the other connection, and learns what it is.
      watched(asks, undefined)
      return undefined
    }
    watched(asks, answer)
    return answer.throttleMs
  }

  /**
   * A process of the broker that has ended has ended its connections too, so what a later one says comes over a
   * connection that was made again. It is counted over both connections, for both bring the same partitions.
   */
  #source(): string {
    const { broker, connections } = this.#options
    const { id, host, port } = broker
    const reconnects =
      connections.to(broker, 'fetch').reconnects + connections.to(broker, 'watch').reconnects
    return `broker ${id} (${host}:${port}), ${reconnects} reconnects`
  }

  async #ask(
    purpose: 'fetch' | 'watch',
    asks: readonly FetchAsk[],
    maxWaitMs: number,
    maxBytes: number,
  ): Promise<BrokerAnswer & { throttleMs: number }> {
    const { broker, connections } = this.#options
    const connection = connections.to(broker, purpose)
    const { throttleMs, error, partitions } = await connection.callRaw(
      fetchApi({ asks, maxWaitMs, maxBytes }),
    )
    if (error !== KAFKA_ERROR.none) throw new Error(`it says ${errorName(error)}`)
    return {
      throttleMs: Math.min(throttleMs, MOST_THROTTLE_MS),
      source: this.#source(),
      parts: new Map(partitions.map((part) => [`${part.topicId}/${part.partition}`, part])),
    }
  }
}
