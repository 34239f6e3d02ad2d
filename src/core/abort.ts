/** Why work was asked to end: the process is stopping. The work keeps its attempt and is done later, elsewhere. */
export class StopReason extends Error {
  override readonly name = 'StopReason'
  constructor(message = 'the process is stopping') {
    super(message)
  }
}

/** Why work was asked to end: somebody cancelled this very piece of work. */
export class CancelReason extends Error {
  override readonly name = 'CancelReason'
  constructor(message = 'cancelled') {
    super(message)
  }
}

/** Why work was asked to end: it took longer than it was allowed to. */
export class TimeoutReason extends Error {
  override readonly name = 'TimeoutReason'
  readonly timeoutMs: number
  constructor(timeoutMs: number) {
    super(`took longer than the ${timeoutMs} ms it may take`)
    this.timeoutMs = timeoutMs
  }
}

/** The signal's reason as an `Error`, whatever it was aborted with. */
export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new StopReason(String(signal.reason))
}

/** Rejects with the signal's reason if it is aborted; to be called before a side effect. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortReason(signal)
}

/** What is to be done when a signal is aborted, and where it stands among the rest. */
interface Waiting {
  readonly action: () => void
  at: number
}

/** All that waits for one signal, behind the one listener that it has while there are any. */
interface Waits {
  readonly all: Waiting[]
  readonly abort: () => void
}

const waits = new WeakMap<AbortSignal, Waits>()

/**
 * Calls `action` when the signal is aborted, in no certain order; the returned function takes it back. For signals that
 * outlive what waits with them: one listener does for all that wait at once, and they are kept in an array.
 *
 * A listener that was removed goes on pointing to the one behind it, as a table of a `Set` that was outgrown does to the
 * next one. When the first of them has grown old in memory, all of them stay until the next full collection, with
 * whatever they hold: each record that was waited for.
 */
export function whenAborted(signal: AbortSignal, action: () => void): () => void {
  const { all, abort } = waits.get(signal) ?? waitsOf(signal)
  const own: Waiting = { action, at: all.length }
  if (all.push(own) === 1) signal.addEventListener('abort', abort)
  return () => {
    if (all[own.at] !== own) return
    const last = all.pop() as Waiting
    if (last !== own) {
      all[own.at] = last
      last.at = own.at
    }
    // A signal made of others is kept in memory for as long as somebody listens to it.
    if (all.length === 0) signal.removeEventListener('abort', abort)
  }
}

function waitsOf(signal: AbortSignal): Waits {
  const all: Waiting[] = []
  // One by one: an action may take back another; and whatever it throws, the others are called.
  const abort = (): void => {
    const one = all.pop()
    if (one === undefined) return
    try {
      one.action()
    } finally {
      abort()
    }
  }
  const made = { all, abort }
  waits.set(signal, made)
  return made
}
