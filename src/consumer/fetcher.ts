import { abortReason, whenAborted } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import type { Log, ReadRequest, ReadResult } from '../log/port.ts'

/** Options of {@link Fetcher}. */
export interface FetcherOptions {
  readonly core: Core
  readonly log: Log
  /** Time between two looks at a log that says nothing, in milliseconds. Default 100. */
  readonly idleMs?: number
}

interface Waiting {
  readonly request: ReadRequest
  readonly resolve: (result: ReadResult) => void
  readonly onUnavailable: (reason: string) => void
}

/**
 * Reads for all partitions of a process at once: one call to the log for everybody who waits, and whoever gets nothing
 * goes on waiting. At most one read per partition is ahead of its consumer, so memory is bounded by the batches' limits.
 */
export class Fetcher {
  readonly #log: Log
  readonly #loop: Loop
  readonly #waiting = new Set<Waiting>()
  readonly #core: Core
  #failing = false
  #offAppend: (() => void) | undefined

  constructor(options: FetcherOptions) {
    this.#log = options.log
    this.#core = options.core
    this.#loop = createLoop({
      clock: options.core.clock,
      intervalMs: options.idleMs ?? 100,
      turn: (signal) => this.#turn(signal),
      onError: (error) => {
        if (!this.#failing)
          options.core.logger.warn({ error }, 'the log cannot be read just now; trying again')
        this.#failing = true
      },
    })
  }

  start(): void {
    this.#offAppend = this.#log.onAppend(() => this.#loop.wake())
    this.#loop.start()
  }

  async stop(): Promise<void> {
    this.#offAppend?.()
    await this.#loop.stop()
  }

  /**
   * The next records of a partition, as soon as there are any, or holes to step over, or the position turns out to be
   * outside of the log, or what stands there can never be read. `onUnavailable` is told, again and again, while the
   * partition cannot be read.
   * @throws the signal's reason when it is aborted first.
   */
  next(
    request: ReadRequest,
    signal: AbortSignal,
    onUnavailable: (reason: string) => void = () => {},
  ): Promise<ReadResult> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(abortReason(signal))
        return
      }
      const waiting: Waiting = {
        request,
        onUnavailable,
        resolve: (result) => {
          stopWaiting()
          resolve(result)
        },
      }
      const stopWaiting = whenAborted(signal, () => {
        this.#waiting.delete(waiting)
        reject(abortReason(signal))
      })
      this.#waiting.add(waiting)
      this.#loop.wake()
    })
  }

  async #turn(signal: AbortSignal): Promise<number | undefined> {
    const asked = [...this.#waiting]
    if (asked.length === 0) return undefined
    const results = await this.#log.read(
      asked.map(({ request }) => request),
      // Nobody is kept waiting by somebody else's partition: what is on its way is found by the next turn.
      { signal, wait: false },
    )
    if (this.#failing) this.#core.logger.info({}, 'the log can be read again')
    this.#failing = false
    for (const [index, waiting] of asked.entries()) {
      const result = results[index]
      if (result?.unavailable !== undefined) waiting.onUnavailable(result.unavailable)
      if (result === undefined || !hasNews(waiting.request, result)) continue
      if (this.#waiting.delete(waiting)) waiting.resolve(result)
    }
    return undefined
  }
}

function hasNews(request: ReadRequest, result: ReadResult): boolean {
  return (
    result.records.length > 0 ||
    result.nextOffset > request.offset ||
    result.outOfRange !== undefined ||
    result.corrupt !== undefined
  )
}
