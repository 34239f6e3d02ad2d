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

const waiting = new WeakMap<AbortSignal, Waiting[]>()

/**
 * Calls `action` when the signal is aborted, in no certain order; the returned function takes it back. For signals that outlive what waits with
 * them: one listener does for all, and they are kept in an array.
 *
 * A listener that was removed goes on pointing to the one behind it, as a table of a `Set` that was outgrown does to the
 * next one. When the first of them has grown old in memory, all of them stay until the next full collection, with
 * whatever they hold: each record that was waited for.
 */
export function whenAborted(signal: AbortSignal, action: () => void): () => void {
  const others = waiting.get(signal) ?? listen(signal)
  const own: Waiting = { action, at: others.length }
  others.push(own)
  return () => {
    if (others[own.at] !== own) return
    const last = others.pop() as Waiting
    if (last === own) return
    others[own.at] = last
    last.at = own.at
  }
}

function listen(signal: AbortSignal): Waiting[] {
  const made: Waiting[] = []
  waiting.set(signal, made)
  const abort = (): void => {
    // One by one: an action may take back another.
    for (let one = made.pop(); one !== undefined; one = made.pop()) one.action()
  }
  signal.addEventListener('abort', abort, { once: true })
  return made
}
