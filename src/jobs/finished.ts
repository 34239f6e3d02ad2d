import type { ErrorDescription } from '../errors/describe.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { JobMeta } from './meta.ts'
import type { FinishedState } from './state.ts'

/** A job that has just reached a final state, as the transaction that finishes it sees it. */
export interface FinishedJob {
  readonly id: string
  readonly kind: string
  readonly queue: string
  /** The application whose bridge made it. */
  readonly application: string | null
  readonly state: FinishedState
  /** Attempts made. */
  readonly attempt: number
  readonly maxAttempts: number
  /** Its args as stored. */
  readonly argsJson: string
  readonly meta: JobMeta
  /** Why it was discarded, if an error was the reason. */
  readonly error: ErrorDescription | null
  /** What the handler or the operator said. */
  readonly reason: string | null
}

/**
 * Called inside the transaction that finishes jobs, with all that it finishes: what it writes through `tx` is there
 * exactly if they are finished. It may be called again for the same jobs when that transaction was rolled back. When it
 * throws, nothing is finished, and the transaction is tried again later.
 */
export type OnFinished = (tx: Queryable, finished: readonly FinishedJob[]) => Promise<void>

/** What is called when jobs finish. */
export interface FinishHooks {
  readonly onFinished?: OnFinished
  /** Whether completed jobs are told too, which costs a transaction per batch. Default `false`: discarded and cancelled ones only. */
  readonly includeCompleted?: boolean
}
