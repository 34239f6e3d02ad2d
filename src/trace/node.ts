/** Why something waited. */
export type WaitKind = 'log' | 'outbox' | 'queue' | 'scheduled' | 'retry' | 'snooze' | 'hold'

/** A time in which nothing happened to a thing that was to happen. */
export interface Wait {
  readonly kind: WaitKind
  /** In words: `paused by ana: deploy`. */
  readonly reason: string
  readonly from: Date
  /** Null: it still waits. */
  readonly to: Date | null
  /** Up to now, of one that still waits. */
  readonly ms: number
}

/** A wait; `to`: null: it lasts. */
export function waitOf(
  kind: WaitKind,
  reason: string,
  from: Date,
  to: Date | null,
  now: Date,
): Wait {
  return { kind, reason, from, to, ms: Math.max(0, +(to ?? now) - +from) }
}

/** An attempt of a job. */
export interface Run {
  readonly attempt: number
  /** Null: not known. */
  readonly from: Date | null
  /** Null: under way. */
  readonly to: Date | null
  readonly outcome:
    | 'running'
    | 'completed'
    | 'failed'
    | 'timed_out'
    | 'crashed'
    | 'lost'
    | 'interrupted'
    | 'late'
    | 'discarded'
    | 'cancelled'
  readonly processId: string | null
  readonly error: string | null
}

/** What a replay did with a dead letter. */
export interface TracedReplay {
  /** Its number. */
  readonly replay: string
  readonly dryRun: boolean
  readonly outcome: 'passed' | 'failed' | 'skipped' | 'not-run'
  /** The error's text, where it did not pass. */
  readonly error: string | null
  /** Who ordered it. */
  readonly by: string
  readonly at: Date
}

/**
 * How far a node is: `done`; `waiting`, `running` and `retrying`: not finished yet; `failed`: given up, cancelled or set
 * aside; `none`: nothing of its own to finish.
 */
export type NodeOutcome = 'done' | 'waiting' | 'running' | 'retrying' | 'failed' | 'none'

/** One thing of a timeline. */
export interface TraceNode {
  /**
   * Unique in the timeline. A job's is its id, an event's `topic/partition/offset`, an application's that of the event
   * with its name, a dead letter's `dead letter 17`.
   */
  readonly id: string
  /** The node that led to it; null: nothing that was found. */
  readonly parent: string | null
  /** Steps from the beginning; the beginning has 0. */
  readonly depth: number
  /** `more`: stands for things like the one before it. */
  readonly type: 'event' | 'application' | 'job' | 'effect' | 'dead-letter' | 'more'
  /** Type of an event, kind of a job, name of an application, effect or handler. */
  readonly label: string
  /** A job's state; what an application made of the record; of a dead letter its state. */
  readonly state: string
  readonly outcome: NodeOutcome
  /** When it came to be. */
  readonly at: Date
  /** When it was finished, or a dead letter replayed or discarded; null: not, or there is nothing to finish. */
  readonly endedAt: Date | null
  /** From `at` to its end, or up to now; null: it takes no time. */
  readonly ms: number | null
  readonly waits: readonly Wait[]
  /** Of a job. */
  readonly runs: readonly Run[]
  /** Of a dead letter, oldest first. */
  readonly replays?: readonly TracedReplay[]
  /** More about it, for people: who, where, why. */
  readonly notes: readonly string[]
  /** What it stands for: ids that other commands take. */
  readonly ref: {
    readonly eventId?: string
    readonly jobId?: string
    readonly deadLetter?: string
    readonly topic?: string
    readonly partition?: number
    readonly offset?: string
    readonly key?: string | null
    readonly application?: string
    readonly handler?: string
    readonly attempt?: number
    readonly traceparent?: string
  }
  /** Of an effect: what its handler said. */
  readonly details?: unknown
  /** Of `more`: how many, by state. */
  readonly count?: number
  readonly states?: Readonly<Record<string, number>>
  /** Whether this is what was asked for. */
  readonly asked: boolean
}
