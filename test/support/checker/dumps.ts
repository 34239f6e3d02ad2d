import type { OperatedDumps } from './operated-dumps.ts'

/** A record as plain SQL finds it. */
export interface RecordDump {
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  /** Header `ce_id`. */
  readonly id: string
  readonly key: string | null
  /** SHA-256 of the value's bytes, hexadecimal. */
  readonly sha256: string
  /**
   * The log has lost it, and it could be read up to this generation; below 0 in none, for it was gone before anybody came.
   * Default: it is there.
   */
  readonly until?: number
  /** It was written where another was lost, and can be read from this generation on. Default: it was there at all times. */
  readonly since?: number
}

/** A position at the end of the run. */
export interface PositionDump {
  readonly application: string
  readonly topicId: string
  readonly partition: number
  readonly generation: number
  readonly epoch: bigint
  readonly next: bigint
  /** Next offset that the log would give out. */
  readonly end: bigint
  readonly halted: string | null
}

/** A row of `millrace.batch`. */
export interface BatchDump {
  readonly application: string
  readonly topicId: string
  readonly partition: number
  readonly generation: number
  readonly first: bigint
  readonly next: bigint
  readonly records: number
  readonly done: number
  readonly jobs: number
  readonly filtered: number
  readonly deadLettered: number
}

/** Where a job's record stands. */
export interface OriginDump {
  readonly application: string
  readonly handler: string
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  readonly generation: number
  readonly index: number
}

/** A job, from the hot table or from the history. */
export interface JobDump {
  readonly id: string
  readonly kind: string
  readonly state: string
  readonly attempt: number
  readonly maxAttempts: number
  readonly crashes: number
  readonly maxCrashes: number
  readonly origin: OriginDump | null
  /** Whether it stands in the history. */
  readonly finished: boolean
  /** Executing, and its process has lapsed. */
  readonly orphaned: boolean
}

/** A row of `millrace.job_attempt`. */
export interface AttemptDump {
  readonly jobId: string
  readonly attempt: number
  readonly token: string
  readonly outcome: string
}

/** A row of the scenario's own effect table: written by a handler, in a transaction that millrace gave it. */
export interface EffectDump {
  /** Drawn from a sequence when the row was written. */
  readonly seq: bigint
  /** Whose: a handler of records, or a kind of jobs. */
  readonly source: 'record' | 'job'
  readonly name: string
  readonly eventId: string
  readonly key: string | null
  readonly jobId: string | null
  readonly attempt: number | null
  readonly topicId: string | null
  readonly partition: number | null
  readonly offset: bigint | null
  /** Of the reading in which a handler of records wrote it. */
  readonly generation: number | null
  readonly execution: string | null
}

/** An event that a handler published beside a row of effect, as it stands in the log. */
export interface EchoDump {
  /** Of the handler of records, or the kind of jobs. */
  readonly name: string
  readonly eventId: string
  readonly key: string
}

/** A position that an operator moved, as the audit tells. */
export interface MoveDump {
  readonly application: string
  readonly topicId: string
  readonly partition: number
  /** That it ended; it goes on in the next. */
  readonly generation: number
  readonly position: bigint
  readonly to: bigint
  /** How many offsets below `to` were given up, handled or not. Null: nobody knew. */
  readonly givenUp: bigint | null
}

/** A row of `millrace.dead_letter`. */
export interface DeadLetterDump {
  readonly id: bigint
  readonly application: string | null
  readonly handler: string
  readonly stage: string
  readonly topicId: string | null
  readonly partition: number | null
  readonly offset: bigint | null
  readonly generation: number | null
  readonly key: string | null
  /** SHA-256 of the stored value, hexadecimal; null: no bytes were stored. */
  readonly sha256: string | null
  readonly jobId: string | null
  readonly state: string
}

/** A change of a job's row that the shadow table saw committed. `executing` → gone from the hot table is `left`. */
export interface JobTransition {
  readonly seq: bigint
  /** The transaction that did it. */
  readonly xid: string
  /** `application_name` of the connection: which worker did it. */
  readonly actor: string
  readonly table: 'job' | 'history'
  readonly op: 'insert' | 'update' | 'delete'
  readonly id: string
  readonly kind: string
  /** State before (deletes: the last one) and after; the history's insert has only the second. */
  readonly from: string | null
  readonly to: string | null
  readonly attempt: number
  readonly maxAttempts: number
  readonly crashes: number
  readonly token: string | null
  /** Token before the change. */
  readonly oldToken: string | null
  /** Whether the process that held the job before the change was alive then, in database time. */
  readonly holderAlive: boolean
  readonly origin: OriginDump | null
  /** Milliseconds since 1970, database time. */
  readonly at: number
  readonly scheduledAt: number
  readonly attemptedAt: number | null
}

/** A change of a position's row that the shadow table saw committed. */
export interface PositionTransition {
  readonly seq: bigint
  /** The transaction that did it. */
  readonly xid: string
  readonly actor: string
  readonly application: string
  readonly topicId: string
  readonly partition: number
  readonly owner: string | null
  readonly epoch: bigint
  readonly next: bigint
  readonly generation: number
}

/** All that is looked at when a run has ended. */
export interface Dumps extends OperatedDumps {
  readonly records: readonly RecordDump[]
  readonly positions: readonly PositionDump[]
  readonly batches: readonly BatchDump[]
  readonly jobs: readonly JobDump[]
  readonly attempts: readonly AttemptDump[]
  readonly effects: readonly EffectDump[]
  readonly deadLetters: readonly DeadLetterDump[]
  readonly jobTransitions: readonly JobTransition[]
  readonly positionTransitions: readonly PositionTransition[]
  readonly moves: readonly MoveDump[]
  /** In order within a key. Undefined: handlers publish nothing. */
  readonly echoes?: readonly EchoDump[]
}

/** A place in a log, as text to compare and to show. */
export function placeOf(at: {
  readonly topicId: string | null
  readonly partition: number | null
  readonly offset: bigint | null
}): string {
  return `${at.topicId}/${at.partition}/${at.offset}`
}

/** A partition as an application reads it, in whatever generation, as text. */
export function partitionOf(at: {
  readonly application: string
  readonly topicId: string
  readonly partition: number
}): string {
  return `${at.application} ${at.topicId}/${at.partition}`
}

/** Whether a record was gone from the log before anybody could read it. */
export function isGoneUnread({ until = 0 }: RecordDump): boolean {
  return until < 0
}

/** Whether a record was in the log when it was read in a generation. */
export function isThereIn(
  { since = 0, until = Number.POSITIVE_INFINITY }: RecordDump,
  generation: number,
): boolean {
  return since <= generation && generation <= until
}

/** The generations in which an application has read a record, by its batches. */
export function readIn(
  dumps: Dumps,
  at: { readonly application: string; readonly topicId: string; readonly partition: number },
  record: RecordDump,
): ReadonlySet<number> {
  const { offset } = record
  return new Set(
    dumps.batches
      .filter(
        (batch) =>
          batch.first <= offset &&
          offset < batch.next &&
          isThereIn(record, batch.generation) &&
          batch.partition === at.partition &&
          batch.topicId === at.topicId &&
          batch.application === at.application,
      )
      .map(({ generation }) => generation),
  )
}

/** Whether an operator has said that an application is not to read a record. */
export function isSkipped(
  dumps: Dumps,
  at: { readonly application: string; readonly topicId: string; readonly partition: number },
  offset: bigint,
): boolean {
  return dumps.moves.some(
    (move) =>
      partitionOf(move) === partitionOf(at) &&
      min(move.position, move.to - (move.givenUp ?? 0n)) <= offset &&
      offset < move.to,
  )
}

/** A partition as an application reads it, in one generation, as text. */
export function laneOf(at: {
  readonly application: string
  readonly topicId: string
  readonly partition: number
  readonly generation: number
}): string {
  return `${at.application} ${at.topicId}/${at.partition} generation ${at.generation}`
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
