import { abortReason, StopReason, throwIfAborted, whenAborted } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { isUuid } from '../core/ids.ts'
import type { ReadOptions, ReadRequest, ReadResult } from '../log/port.ts'
import { keyOf, type Buffers } from './buffers.ts'
import type { Fetching } from './fetching.ts'
import type { Demand, Outcome, PartitionBuffer } from './partition-buffer.ts'

/** How long a read waits for the brokers, in milliseconds. */
const ANSWER_MS = 3_000
/** Below this much at hand, more is fetched before it is asked for. */
const AHEAD_BYTES = 524_288

/**
 * Reads partitions by explicit offset. A read takes what is at hand; else the offset becomes a demand, which the
 * partition's leader is asked about at once, together with all others that it leads. What is found to be at the end is
 * watched, so that what comes next is at hand before anybody asks.
 */
export class Reader {
  readonly #core: Core
  readonly #buffers: Buffers
  readonly #fetching: Fetching
  readonly #closing = new AbortController()

  constructor(core: Core, buffers: Buffers, fetching: Fetching) {
    this.#core = core
    this.#buffers = buffers
    this.#fetching = fetching
  }

  /** See `Log.read`. */
  async read(
    requests: readonly ReadRequest[],
    { signal, wait = true }: ReadOptions,
  ): Promise<ReadResult[]> {
    throwIfAborted(signal)
    throwIfAborted(this.#closing.signal)
    if (!wait) return requests.map((request) => this.#atHand(request))
    const results = new Map<ReadRequest, ReadResult>()
    const deadline = this.#core.clock.monotonicMs() + ANSWER_MS
    // Two requests for one partition want different places of it: one after the other.
    const groups = Map.groupBy(requests, ({ topicId, partition }) => keyOf(topicId, partition))
    await Promise.all(
      [...groups.values()].map(async (group) => {
        for (const request of group) {
          results.set(request, await this.#await(request, deadline, signal))
        }
      }),
    )
    return requests.map((request) => results.get(request) as ReadResult)
  }

  /** Lets nobody wait any more. */
  close(): void {
    this.#closing.abort(new StopReason('the log was closed'))
  }

  /** What is at hand; what is not is on its way afterwards. */
  #atHand(request: ReadRequest): ReadResult {
    if (!isUuid(request.topicId)) return nobody(request)
    const now = this.#core.clock.monotonicMs()
    const buffer = this.#buffers.of(request.topicId, request.partition, now)
    const result = this.#take(buffer, request)
    if (result !== undefined) return result
    const { offset } = request
    if (buffer.watched !== offset && buffer.asked?.demand.offset !== offset) {
      this.#fetching.demand(buffer, offset)
    }
    return buffer.nothing(request, now)
  }

  /** As {@link #atHand}, but what is not at hand is waited for. What was there before the call is always given. */
  async #await(
    request: ReadRequest,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<ReadResult> {
    if (!isUuid(request.topicId)) return nobody(request)
    for (;;) {
      const now = this.#core.clock.monotonicMs()
      const buffer = this.#buffers.of(request.topicId, request.partition, now)
      const result = this.#take(buffer, request)
      if (result !== undefined) return result
      const demand = this.#fetching.demand(buffer, request.offset)
      const outcome = await this.#outcome(demand, deadline, signal)
      if (outcome === 'end') return buffer.nothing(request, this.#core.clock.monotonicMs())
      if (outcome === 'late') {
        const reason = buffer.trouble?.reason ?? 'its leader has not answered in time'
        return { ...buffer.nothing(request, now), unavailable: reason }
      }
    }
  }

  #outcome(
    demand: Demand,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Outcome | 'late'> {
    const { clock } = this.#core
    const signals = [this.#closing.signal, ...(signal === undefined ? [] : [signal])]
    return new Promise((resolve, reject) => {
      const end = (): void => {
        cancel()
        for (const stop of stopWaiting) stop()
        const at = demand.waiters.indexOf(done)
        if (at !== -1) demand.waiters.splice(at, 1)
      }
      const onAbort = (): void => {
        end()
        reject(abortReason(signals.find(({ aborted }) => aborted) as AbortSignal))
      }
      const done = (outcome: Outcome | 'late'): void => {
        end()
        resolve(outcome)
      }
      const cancel = clock.after(Math.max(0, deadline - clock.monotonicMs()), () => done('late'))
      const stopWaiting = signals.map((one) => whenAborted(one, onAbort))
      demand.waiters.push(done)
    })
  }

  /** Takes what is at hand, and sees to it that there is more in time. */
  #take(buffer: PartitionBuffer, request: ReadRequest): ReadResult | undefined {
    const result = buffer.take(request)
    if (result === undefined || result.outOfRange !== undefined || result.corrupt !== undefined) {
      return result
    }
    const { offset, bytes } = buffer.ahead(result.nextOffset)
    if (bytes >= AHEAD_BYTES) return result
    if (buffer.goesOn(offset)) this.#fetching.demand(buffer, offset, { ahead: true })
    else this.#fetching.watch(buffer, offset)
    return result
  }
}

function nobody({ topicId, partition, offset }: ReadRequest): ReadResult {
  const nowhere = { history: '', records: [], nextOffset: offset, logStart: offset, end: offset }
  return { topicId, partition, ...nowhere, outOfRange: 'unknown-partition' }
}
