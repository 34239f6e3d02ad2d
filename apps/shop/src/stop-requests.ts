/** Two Ctrl-C closer together than this, in milliseconds, are one that came over two ways. */
const ECHO_MS = 100

/** Options of {@link StopRequests}. */
export interface StopRequestsOptions {
  /** Told once, with the reason in words, when the shop is to drain. */
  readonly onStop: (why: string) => void
  /** The shop is to end at once. */
  readonly onStopNow: () => void
}

/** Listens for everything that asks the shop to stop. Once: drain. Ctrl-C twice: now. */
export class StopRequests {
  readonly #controller = new AbortController()
  readonly #options: StopRequestsOptions
  #timer: NodeJS.Timeout | undefined
  #lastInterrupt = Number.NEGATIVE_INFINITY
  #interrupts = 0

  constructor(options: StopRequestsOptions) {
    this.#options = options
  }

  /** Aborted when the shop is to drain. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Begins to listen, to signals and to the end of who reads what the shop writes. */
  listen(): void {
    process.on('SIGINT', () => this.#interrupt())
    process.on('SIGTERM', () => this.request('asked to stop'))
    process.on('SIGHUP', () => this.request('the terminal was closed'))
    for (const stream of [process.stdout, process.stderr]) {
      stream.on('error', () => this.request('nobody reads the output any more'))
    }
  }

  /** Asks to drain after this time. */
  after(ms: number): void {
    this.#timer = setTimeout(() => this.request('the time is up'), ms)
    this.#timer.unref()
  }

  /** Asks to drain. */
  request(why: string): void {
    if (this.signal.aborted) return
    clearTimeout(this.#timer)
    this.#options.onStop(why)
    this.#controller.abort()
  }

  #interrupt(): void {
    const now = performance.now()
    const echo = now - this.#lastInterrupt < ECHO_MS
    this.#lastInterrupt = now
    if (echo) return
    this.#interrupts += 1
    if (this.#interrupts > 1) this.#options.onStopNow()
    else this.request('Ctrl-C')
  }
}
