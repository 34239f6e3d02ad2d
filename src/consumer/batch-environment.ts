import { abortReason } from '../core/abort.ts'
import { backoffMs } from '../core/backoff.ts'
import type { LogFields } from '../core/logger.ts'
import { describeError } from '../errors/describe.ts'
import type { Decoded } from '../events/decode.ts'
import type { LogRecord } from '../log/port.ts'
import type { ResolvedApplicationOptions } from './application.ts'
import type { HandlerEnvironment } from './handler.ts'
import type { BatchPace } from './batch-pace.ts'
import type { BatchReservations } from './batch-reservations.ts'
import { decide } from './decide.ts'
import type { BoundHandler, Item } from './step.ts'

/** What the batches of one owned partition need. */
export interface BatchEnvironment extends HandlerEnvironment {
  readonly application: string
  readonly options: ResolvedApplicationOptions
  readonly decode: (record: LogRecord) => Decoded | Promise<Decoded>
  readonly handlersOf: (definition: unknown) => readonly BoundHandler[]
  /** Whether any handler has `once`. */
  readonly remembers: boolean
  readonly processId: string
  /** Resolves when this process may act; see `Heartbeat.alive`. */
  readonly whenAlive: (signal: AbortSignal) => Promise<void>
  /** Told how long the handlers take; absent where nobody asks. */
  readonly pace?: BatchPace
  /** Undefined: whatever fails becomes dead letters. */
  readonly brake: Brake | undefined
  /** Told what the partition waits for, null when it goes on. */
  readonly onWaiting: (reason: string | null) => void
}

/** Ends a batch before its first dead letter when its failures are a flood; see `PartitionBrake`. */
export interface Brake {
  /**
   * Looks at a batch while it is being prepared, when a record of it has failed for good: whatever is not known yet may
   * go well.
   * @throws FloodStopReason
   */
  lookEarly(scope: BatchScope, items: readonly Item[]): Promise<void>
  /**
   * Looks at a batch whose failures of decode, validate and prepare are known.
   * @throws FloodStopReason
   */
  look(scope: BatchScope, items: readonly Item[]): Promise<void>
  /**
   * Looks again before the record at index `at`, which has failed in the transaction for good, becomes a dead letter;
   * what stands before index `from` is committed. Resolves to the index of the next record that is expected to fail,
   * `items.length` for none; undefined: nobody knows.
   * @throws FloodStopReason
   */
  lookAgain(
    scope: BatchScope,
    items: readonly Item[],
    where: { readonly from: number; readonly at: number },
  ): Promise<number | undefined>
}

/**
 * Whose records these are to handlers with `once`; absent: read from the log as it goes on.
 *
 * `dead-letters` are never refused: whoever replays one knows that it has been seen. Past records are a reading of their
 * own, in which every event is handled once, whatever other readings have had: `replay` is its number.
 */
export type Rereading = 'dead-letters' | { readonly replay: bigint }

/** Records on their way to their dispositions: what that needs, what is said of them in the log, and what ends it early. */
export interface BatchScope {
  readonly env: BatchEnvironment
  /** Where they come from: `{ topic, partition }`, or `{ replay }`. */
  readonly about: LogFields
  readonly signal: AbortSignal
  /** What handlers have reserved for the batch; absent in a replay. */
  readonly reservations?: BatchReservations
  /** What handlers with `once` make of it. Default: the records are read as the log goes on. */
  readonly rereading?: Rereading
}

/** Waits between tries of a record that failed: 0.2 s, doubling, at most 10 s. */
const RETRY = { baseMs: 200, maxMs: 10_000 } as const

/**
 * Waits before the next try, says in the log what failed, and from the second failure on also at the position.
 * @throws the signal's reason when it is aborted.
 */
export async function waitBeforeRetry(
  { env, about, signal }: BatchScope,
  failed: { readonly attempt: number; readonly error: unknown; readonly what: string },
): Promise<void> {
  const { core, application, onWaiting } = env
  const { attempt, what } = failed
  const error = describeError(failed.error)
  const waitMs = backoffMs(attempt, core.random, RETRY)
  core.logger.warn(
    { application, ...about, attempt, waitMs, error },
    'a batch failed and is tried again',
  )
  if (attempt > 1) onWaiting(`${what} failed, attempt ${attempt}: ${error.message.slice(0, 200)}`)
  await core.clock.sleep(waitMs, { signal }).catch(() => {
    throw abortReason(signal)
  })
  onWaiting(null)
}

/** Asks the database until it answers: what hangs on the answer is not done before. */
export async function untilAnswered<T>(scope: BatchScope, ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask()
    } catch (error) {
      if (decide(error, 1, Number.MAX_SAFE_INTEGER) !== 'wait') throw error
      await waitBeforeRetry(scope, { attempt, error, what: 'the database' })
    }
  }
}
