import type { ErrorDescription } from '../errors/describe.ts'
import type { DeadLetterStage, DeadLetterState } from '../dead-letter/stage.ts'
import type { JobOrigin } from '../jobs/meta.ts'
import type { JobState } from '../jobs/state.ts'
import type { KeptEffect } from '../timeline/effect-rows.ts'

// What a timeline is made of: facts as they were found, in any order, each once. Nothing here is worked out yet.

/** An event as a record of the log, or on its way there. */
export interface EventFact {
  /** Of the event; of a record without one, what millrace calls it. */
  readonly id: string
  readonly type: string | null
  readonly source: string | null
  readonly topic: string
  /** With partition and offset null: not in the log yet. */
  readonly topicId: string | null
  readonly partition: number | null
  readonly offset: bigint | null
  /** The record's timestamp. */
  readonly at: Date
  /** As text; null: none. */
  readonly key: string | null
  readonly correlationId: string
  readonly causationId: string | null
  /** Where the record of the causing event stands, if its own headers do not say its id. */
  readonly causationRecord: string | null
  readonly traceparent: string | null
  /**
   * `log`: it was read there. `outbox`: it is not in the log yet. `gone`: the log does not have it any more, and only what was
   * made of it is known. `unread`: the log did not answer, or too many were to be read.
   */
  readonly found: 'log' | 'outbox' | 'gone' | 'unread'
}

/** A job, whatever its state. */
export interface JobFact {
  readonly id: string
  readonly kind: string
  readonly queue: string
  readonly state: JobState
  readonly attempt: number
  readonly maxAttempts: number
  /** Whether its process died, so that it is run alone. */
  readonly suspect: boolean
  readonly application: string | null
  readonly origin: JobOrigin | null
  readonly correlationId: string
  readonly causationId: string | null
  /** As {@link EventFact.causationRecord}. */
  readonly causationRecord: string | null
  readonly traceparent: string | null
  readonly createdAt: Date
  readonly scheduledAt: Date
  readonly attemptedAt: Date | null
  readonly finishedAt: Date | null
  readonly processId: string | null
  /** The last error: its code or class, and its text; of a snoozed job `Snooze` and the reason. */
  readonly error: { readonly name: string; readonly message: string } | null
  readonly reason: string | null
}

/** What an application made of a record, as far as it is known. */
export interface HandlingFact {
  readonly application: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  readonly generation: number
  /**
   * `handled`: its position has moved past the record in a batch that is known. `passed`: it is behind the record, and no
   * batch says when. `waiting`: it has not come to the record.
   */
  readonly state: 'handled' | 'passed' | 'waiting'
  /** When the batch was committed that the record was in. */
  readonly committedAt: Date | null
  /** Of that batch: how many of its records came to what. */
  readonly counts: {
    readonly records: number
    readonly done: number
    readonly jobs: number
    readonly filtered: number
    readonly deadLettered: number
    readonly filteredBy: Readonly<Record<string, number>>
  } | null
  /** Of one that waits: why, where anybody knows. */
  readonly reason: string | null
  /** Of one that waits: offsets before this one that it has not read either. */
  readonly behind: bigint | null
}

/** An attempt that did not complete its job. */
export interface AttemptFact {
  readonly jobId: string
  readonly attempt: number
  readonly outcome: 'failed' | 'timed_out' | 'crashed' | 'lost' | 'interrupted' | 'late'
  readonly error: Pick<ErrorDescription, 'class' | 'code' | 'message'> | null
  readonly processId: string | null
  readonly attemptedAt: Date | null
  readonly finishedAt: Date
}

/** That an application set a record aside, and what has become of that. */
export interface LetterFact {
  /** Of the dead letter. */
  readonly id: bigint
  readonly application: string | null
  /** Where the record stands that the application read; of one that another program had set aside: in the topic it is taken from. */
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  readonly state: DeadLetterState
  /** When it was replayed or discarded, in the transaction of that. */
  readonly closedAt: Date | null
}

/** What a dead letter tells, without its bytes. */
export interface DeadLetterFact {
  readonly id: bigint
  readonly handler: string
  readonly stage: DeadLetterStage
  readonly jobId: string | null
  readonly error: Pick<ErrorDescription, 'class' | 'code' | 'message'>
  readonly attempts: number
  readonly state: DeadLetterState
  /** Of one for a job that was discarded more than once: the last time. */
  readonly createdAt: Date
  /** When it was handled or discarded. */
  readonly closedAt: Date | null
  /** How often it was closed, and is open again since it failed again. */
  readonly replays: number
}

/** What a replay did with a dead letter. */
export interface ReplayFact {
  readonly deadLetter: bigint
  readonly replay: bigint
  readonly dryRun: boolean
  readonly outcome: 'passed' | 'failed' | 'skipped' | 'not-run'
  /** The error's text. */
  readonly error: string | null
  /** Who ordered it. */
  readonly by: string
  readonly at: Date
}

/** A time in which something kept an application from reading: a pause, or a gap that nobody had decided about. */
export interface HoldFact {
  readonly application: string
  /** Null: all topics. */
  readonly topic: string | null
  /** Null: all partitions. */
  readonly partition: number | null
  /** In words: `paused by ana: deploy`. */
  readonly what: string
  readonly from: Date
  /** Null: it still does. */
  readonly to: Date | null
}

/** Everything that was found. */
export interface TraceFacts {
  readonly events: readonly EventFact[]
  readonly jobs: readonly JobFact[]
  readonly handlings: readonly HandlingFact[]
  readonly attempts: readonly AttemptFact[]
  readonly effects: readonly KeptEffect[]
  /** Of all records, shown or not. */
  readonly letters: readonly LetterFact[]
  /** Of the jobs and records that are shown. */
  readonly deadLetters: readonly DeadLetterFact[]
  /** Of those, oldest first. */
  readonly replays: readonly ReplayFact[]
  readonly holds: readonly HoldFact[]
}
