import { StopReason } from '../core/abort.ts'
import { backoffMs } from '../core/backoff.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { BrokerFetcher, type BrokerAnswer } from './broker-fetcher.ts'
import { keyOf } from './buffers.ts'
import type { Broker } from './cluster.ts'
import type { Connections } from './connections.ts'
import type { FetchAsk, FetchedPartition } from './fetch-api.ts'
import { FetchPlan, MAX_UNSERVED, type FetchPlanOptions } from './fetch-plan.ts'
import type { Asked, Demand, Outcome, PartitionBuffer } from './partition-buffer.ts'
import type { Offsets } from './offsets.ts'
import { errorName, KAFKA_ERROR } from './protocol.ts'
import { Segment } from './segment.ts'

/** Options of {@link Fetching}. */
export interface FetchingOptions extends FetchPlanOptions {
  readonly connections: Connections
  readonly offsets: Offsets
  /** Most bytes that one batch of records may decompress to. */
  readonly maxBatchBytes: number
  /** Told when there may be something new to read of a topic. */
  readonly onNews: (topicId: string) => void
}

/** After so many milliseconds without an answer, it is asked who leads the partition by now. */
const LATE_MS = 1_000
const TICK_MS = 500
/** Time between two looks at who leads what is read, in milliseconds. */
const LOOK_MS = 5_000
const BACKOFF = { baseMs: 50, maxMs: 2_000 }

/**
 * Brings what is wanted of partitions from their leaders into the buffers. Whatever goes wrong concerns one partition: its
 * leader is looked for again with back-off, and its readers are told when it lasts. No error of one reaches the others.
 */
export class Fetching {
  readonly #options: FetchingOptions
  readonly #plan: FetchPlan
  readonly #fetchers = new Map<number, BrokerFetcher>()
  readonly #ticks: Loop
  readonly #stopping = new AbortController()
  #lastLook = 0

  constructor(options: FetchingOptions) {
    this.#options = options
    this.#plan = new FetchPlan(options)
    this.#ticks = createLoop({
      clock: options.core.clock,
      intervalMs: TICK_MS,
      turn: () => this.#tick(),
      onError: (error) => options.core.logger.debug({ error }, 'no broker says who leads what'),
    })
    this.#ticks.start()
  }

  /** Wants what is at an offset: for somebody, or only because somebody will soon. */
  demand(
    buffer: PartitionBuffer,
    offset: bigint,
    { ahead = false }: { readonly ahead?: boolean } = {},
  ): Demand {
    const known = buffer.demands.get(offset)
    if (known !== undefined && (ahead || !known.ahead)) return known
    const demand: Demand = { offset, since: this.#now(), ahead, waiters: [] }
    if (ahead && buffer.asked?.demand.offset === offset) return demand
    buffer.demands.set(offset, demand)
    this.#schedule(buffer)
    return demand
  }

  /** Wants to know of what comes at the end of the log. */
  watch(buffer: PartitionBuffer, end: bigint): void {
    buffer.end = end
    const leader = this.#options.cluster.leader(buffer.topicId, buffer.partition)
    if ('broker' in leader) this.#fetcher(leader.broker).watch()
  }

  /** Ends the fetching. Resolves when the last answers are there, or their connections closed. */
  async close(): Promise<void> {
    this.#stopping.abort(new StopReason('the log was closed'))
    await this.#ticks.stop()
    await Promise.all([...this.#fetchers.values()].map((fetcher) => fetcher.stop()))
  }

  #now(): number {
    return this.#options.core.clock.monotonicMs()
  }

  /** Sends what is wanted of a partition on its way. */
  #schedule(buffer: PartitionBuffer): void {
    if (buffer.recovering || buffer.asked !== undefined || buffer.demands.size === 0) return
    const leader = this.#options.cluster.leader(buffer.topicId, buffer.partition)
    if ('broker' in leader) this.#fetcher(leader.broker).fetch()
    else void this.#recover(buffer, 'unavailable' in leader ? leader.unavailable : undefined)
  }

  #fetcher(broker: Broker): BrokerFetcher {
    const known = this.#fetchers.get(broker.id)
    if (known !== undefined && known.isAt(broker)) return known
    void known?.stop()
    const { core, connections } = this.#options
    const fetcher = new BrokerFetcher({
      core,
      broker,
      connections,
      demands: () => this.#plan.demands(broker.id),
      watches: () => this.#plan.watches(broker.id),
      fetched: (asked, answer) => this.#fetched(asked, answer),
      watched: (watches, answer) => this.#watched(watches, answer),
      failed: (asked, error) => this.#failed(broker, asked, error),
    })
    this.#fetchers.set(broker.id, fetcher)
    return fetcher
  }

  #fetched(asked: ReadonlyMap<PartitionBuffer, Asked>, { parts, source }: BrokerAnswer): void {
    // Before, so that what comes now is there until somebody had his turn to take it.
    this.#options.buffers.evict()
    const isEmpty = [...parts.values()].every(({ records }) => records.length === 0)
    for (const [buffer, one] of asked) {
      // Given up meanwhile, for another leader.
      if (buffer.asked !== one) continue
      buffer.asked = undefined
      const part = parts.get(keyOf(buffer.topicId, buffer.partition))
      if (part === undefined) this.#putBack(buffer, one.demand)
      else this.#answered(buffer, one, { ...part, source }, isEmpty)
      this.#schedule(buffer)
    }
  }

  #answered(
    buffer: PartitionBuffer,
    { demand, ask }: Asked,
    part: SourcedPartition,
    isEmpty: boolean,
  ): void {
    switch (part.error) {
      case KAFKA_ERROR.none:
        if (this.#keep(buffer, ask, part)) this.#settle(buffer, demand, 'news')
        else if (ask.offset >= part.lastStableOffset) {
          this.watch(buffer, ask.offset)
          this.#settle(buffer, demand, 'end')
        } else if (isEmpty) this.#unserved(buffer, demand)
        else {
          // Others filled the answer. It has waited longest now, so it comes first in the next one.
          this.#putBack(buffer, demand)
          return
        }
        buffer.lastFetched = this.#now()
        return
      case KAFKA_ERROR.offsetOutOfRange:
        void this.#outOfRange(buffer, demand)
        return
      default: {
        const reason = `its leader says ${errorName(part.error)}`
        if (part.error === KAFKA_ERROR.topicAuthorizationFailed) buffer.refused = reason
        this.#putBack(buffer, demand)
        void this.#recover(buffer, reason)
      }
    }
  }

  #watched(
    watches: ReadonlyMap<PartitionBuffer, FetchAsk>,
    answer: BrokerAnswer | undefined,
  ): void {
    this.#options.buffers.evict()
    for (const [buffer, ask] of watches) {
      const { offset } = ask
      if (buffer.watched === offset) buffer.watched = undefined
      const part = answer?.parts.get(keyOf(buffer.topicId, buffer.partition))
      if (answer === undefined || part?.error !== KAFKA_ERROR.none) {
        // Whoever reads there asks, and learns what it is.
        if (buffer.end === offset) buffer.end = undefined
        continue
      }
      buffer.trouble = undefined
      if (buffer.end !== offset || part.records.length === 0) continue
      const isNews = this.#keep(buffer, ask, { ...part, source: answer.source })
      const { offset: next } = buffer.ahead(offset)
      buffer.end = isNews && next >= part.lastStableOffset ? next : undefined
      if (isNews) this.#options.onNews(buffer.topicId)
    }
  }

  /** There is something, but it was not sent, and nothing of anybody else: it is larger than what was asked for. */
  #unserved(buffer: PartitionBuffer, demand: Demand): void {
    buffer.unserved += 1
    this.#putBack(buffer, demand)
    if (buffer.unserved < MAX_UNSERVED) return
    void this.#recover(buffer, 'its leader sends nothing of what it says it has')
  }

  /**
   * Keeps what was fetched from an offset; gives whether there is something to read there now. A leader that answers has
   * the epoch that it was asked with: another one refuses.
   */
  #keep(
    buffer: PartitionBuffer,
    { offset, leaderEpoch }: FetchAsk,
    part: SourcedPartition,
  ): boolean {
    buffer.goOn(`${part.source}, leader epoch ${leaderEpoch}`)
    buffer.bounds = { start: part.logStart, end: part.lastStableOffset }
    if (part.records.length === 0) return false
    const { maxBatchBytes } = this.#options
    const { records, aborted } = part
    return buffer.add(new Segment(offset, records, aborted, maxBatchBytes, this.#now()))
  }

  #settle(buffer: PartitionBuffer, demand: Demand, outcome: Outcome): void {
    buffer.trouble = undefined
    buffer.refused = undefined
    buffer.unserved = 0
    for (const waiter of demand.waiters.splice(0)) waiter(outcome)
    if (outcome === 'end') return
    for (const other of buffer.demands.values()) {
      if (!buffer.has(other.offset)) continue
      buffer.demands.delete(other.offset)
      for (const waiter of other.waiters.splice(0)) waiter(outcome)
    }
    this.#options.onNews(buffer.topicId)
  }

  #putBack(buffer: PartitionBuffer, demand: Demand): void {
    const other = buffer.demands.get(demand.offset)
    demand.waiters.push(...(other?.waiters ?? []))
    // Somebody may have begun to wait for what was only wanted ahead.
    const ahead = demand.ahead && other?.ahead !== false
    buffer.demands.set(demand.offset, { ...demand, ahead })
  }

  #failed(broker: Broker, asked: ReadonlyMap<PartitionBuffer, Asked>, error: unknown): void {
    for (const [buffer, one] of asked) {
      if (buffer.asked !== one) continue
      buffer.asked = undefined
      this.#putBack(buffer, one.demand)
      const text = error instanceof Error ? error.message : String(error)
      void this.#recover(buffer, `its leader ${nameOf(broker)} cannot be reached: ${text}`)
    }
  }

  /** Below the start, or behind the end: the fetch does not say which. */
  async #outOfRange(buffer: PartitionBuffer, demand: Demand): Promise<void> {
    const { topicId, partition } = buffer
    const { offset } = demand
    const [range] = await this.#options.offsets.ranges(topicId, [partition]).catch(() => [])
    if (range === undefined || range.unavailable !== undefined) {
      this.#putBack(buffer, demand)
      await this.#recover(buffer, range?.unavailable)
      return
    }
    const { start, end, appendOffset } = range
    if (offset >= start && offset <= appendOffset) {
      // It has come into range, or the leader was not yet ready to say.
      this.#putBack(buffer, demand)
      await this.#recover(buffer, 'its leader says OFFSET_OUT_OF_RANGE of an offset that it has')
      return
    }
    buffer.judge(offset, offset < start ? 'before-start' : 'behind-end', { start, end })
    this.#settle(buffer, demand, 'news')
  }

  /** Looks for the leader again, after a while that grows; then goes on with what is wanted. */
  async #recover(buffer: PartitionBuffer, reason: string | undefined): Promise<void> {
    if (buffer.recovering) return
    buffer.recovering = true
    const { core, cluster } = this.#options
    const { signal } = this.#stopping
    const { topicId, partition } = buffer
    let why = reason
    while (buffer.demands.size > 0) {
      try {
        if (why !== undefined) {
          const failures = buffer.fail(why, this.#now())
          await core.clock.sleep(backoffMs(failures, core.random, BACKOFF), { signal })
        }
        const view = await cluster.topic({ id: topicId })
        const isThere = view?.partitions[partition] !== undefined
        // Whoever may not see a topic is told that there is none.
        why = isThere ? undefined : buffer.refused
        if (why !== undefined) continue
        if (!isThere) this.#gone(buffer)
        break
      } catch (error) {
        if (signal.aborted) return
        why = (error as Error).message
      }
    }
    buffer.recovering = false
    if (!signal.aborted) this.#schedule(buffer)
  }

  /** No broker knows the topic, or it has fewer partitions. */
  #gone(buffer: PartitionBuffer): void {
    for (const demand of buffer.demands.values()) {
      buffer.demands.delete(demand.offset)
      buffer.judge(demand.offset, 'unknown-partition')
      this.#settle(buffer, demand, 'news')
    }
  }

  async #tick(): Promise<undefined> {
    const { buffers, cluster } = this.#options
    const now = this.#now()
    const active = buffers.sweep(now)
    let late = false
    for (const buffer of buffers) {
      const { asked } = buffer
      if (asked === undefined || now - asked.since < LATE_MS) continue
      late = true
      const seconds = Math.round((now - asked.since) / 1_000)
      buffer.trouble = {
        since: buffer.trouble?.since ?? asked.since,
        reason: `its leader, broker ${asked.brokerId}, has not answered for ${seconds} s`,
        failures: buffer.trouble?.failures ?? 0,
      }
    }
    if (active.size === 0 || (!late && now - this.#lastLook < LOOK_MS)) return undefined
    this.#lastLook = now
    await cluster.look({ ids: active })
    this.#leaveOldLeaders()
    return undefined
  }

  /** Those who wait for a broker that leads no more ask the new one. */
  #leaveOldLeaders(): void {
    for (const buffer of this.#options.buffers) {
      const { asked } = buffer
      if (asked === undefined) continue
      const leader = this.#options.cluster.leader(buffer.topicId, buffer.partition)
      if ('broker' in leader && leader.broker.id === asked.brokerId) continue
      buffer.asked = undefined
      this.#putBack(buffer, asked.demand)
      this.#schedule(buffer)
    }
  }
}

/** What was fetched of a partition, and where it comes from; see {@link BrokerAnswer}. */
type SourcedPartition = FetchedPartition & Pick<BrokerAnswer, 'source'>

function nameOf({ id, host, port }: Broker): string {
  return `broker ${id} (${host}:${port})`
}
