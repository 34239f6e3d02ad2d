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
