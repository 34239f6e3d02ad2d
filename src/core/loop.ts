import { StopReason } from './abort.ts'
import type { Clock } from './clock.ts'

/**
 * A piece of work that is done again and again until it is stopped: after `intervalMs`, or sooner when woken.
 *
 * Modes: idle → (start) → running ⇄ waiting → (stop) → stopped.
 * `wake()` while waiting ends the wait; while running it makes the next wait end at once; before `start` and after
 * `stop` it is ignored. `stop()` is safe before start and twice, and resolves when the running turn has ended.
 */
export interface Loop {
  start(): void
  wake(): void
  stop(): Promise<void>
}

/** Options of {@link createLoop}. */
export interface LoopOptions {
  readonly clock: Clock
  /** Wait between turns, in milliseconds, when a turn returns nothing. */
  readonly intervalMs: number
  /** One turn. May return how long to wait before the next, in milliseconds; 0 means at once. */
  readonly turn: (signal: AbortSignal) => Promise<number | undefined | void>
  /** Told of every error a turn throws; the loop goes on after `intervalMs`. */
  readonly onError: (error: unknown) => void
}

/** Makes a loop; nothing runs before `start`. */
export function createLoop({ clock, intervalMs, turn, onError }: LoopOptions): Loop {
  const stopping = new AbortController()
  let woken = false
  let endWait: AbortController | undefined
  let running: Promise<void> | undefined

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      woken = false
      let waitMs: number | undefined | void
      try {
        waitMs = await turn(stopping.signal)
      } catch (error) {
        if (stopping.signal.aborted) return
        onError(error)
      }
      if (stopping.signal.aborted) return
      if (woken || waitMs === 0) {
        // A turn that never waits must still let timers and sockets have theirs.
        await new Promise<void>((resolve) => setImmediate(resolve))
        continue
      }
      const wait = new AbortController()
      endWait = wait
      // Rejects when woken or stopped: both only end the wait.
      await clock.sleep(waitMs ?? intervalMs, { signal: wait.signal }).catch(() => {})
      endWait = undefined
    }
  }

  return {
    start() {
      if (!stopping.signal.aborted) running ??= run()
    },
    wake() {
      woken = true
      endWait?.abort(new StopReason('woken'))
    },
    async stop() {
      stopping.abort(new StopReason())
      endWait?.abort(new StopReason())
      await running
    },
  }
}
