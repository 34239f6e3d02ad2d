import type { PlacedRecord, RawRecord } from '../events/raw-record.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** A topic as it is now. */
export interface Topic {
  readonly name: string
  /** A UUID. A topic deleted and made again has another. */
  readonly id: string
  /** Partitions are numbered from 0. */
  readonly partitions: number
}

/** A record as it was read. */
export type LogRecord = PlacedRecord

/** A record to be appended. */
export interface NewRecord extends Pick<RawRecord, 'key' | 'value' | 'headers'> {
  /** The topic's name. */
  readonly topic: string
  /** Default: the log's own time of writing. From 1970 to the year 9999; stored to the millisecond. */
  readonly timestamp?: Date
  /** Default: by the key, as Kafka's producers do it; by chance where there is no key. */
  readonly partition?: number
}

/** Where a record was put. */
export interface AppendedRecord {
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
}

/** What to read of one partition. */
export interface ReadRequest {
  /** Identity of the topic; what is read is this one and no other of its name. */
  readonly topicId: string
  /** Name that the records are given. */
  readonly topic: string
  readonly partition: number
  /** The first offset wanted. */
  readonly offset: bigint
  /** Most records. Default 500. Bounds 1 … 10,000. */
  readonly maxRecords?: number
  /**
   * Most bytes of keys, values and headers. Default 4,194,304. Bounds 1 … 268,435,456. The first record is always given,
   * however large, so that no reader is stuck before it.
   */
  readonly maxBytes?: number
}

/** What was read of one partition. */
export interface ReadResult {
  readonly topicId: string
  readonly partition: number
  /**
   * Names the history that the answer comes from. Two answers of one open log about one partition that have the same name
   * come from one log that was only appended to between them, and purged, and compacted. When the names differ, what
   * stands behind the second may be another log, shorter and grown again, with other records at offsets that were read
   * before: whoever goes on from a position has to look whether the position is of that history too. A name says nothing
   * once the log is closed. A log that can lose nothing of what it once gave has one name for ever.
   */
  readonly history: string
  /** In order of their offsets. None when `outOfRange`. */
  readonly records: readonly LogRecord[]
  /**
   * Set when the log knows that the offset asked for never had a record for a reader: it belongs to the end of a
   * transaction, or to one that was aborted. Where it is not set, an offset without a record may have had one, which
   * compaction took away.
   */
  readonly neverRecord?: true
  /**
   * Where to read next: behind the last record given when a limit cut the rest off, else behind every hole as well, where
   * the visible log ends. Never below the offset asked for.
   */
  readonly nextOffset: bigint
  /** The first offset that is still there; everything below was purged. */
  readonly logStart: bigint
  /**
   * Where the visible log ends now: all below is decided, and later appends are at or above it. May be lower than what it
   * was before, or than a position already reached, while somebody's transaction is open: that is nothing to worry about.
   */
  readonly end: bigint
  /**
   * Set when the log does not have the offset. `before-start`: it was purged. `behind-end`: nothing was ever appended
   * there, so the log is not the one that the offset comes from. `unknown-partition`: no topic of that id, or fewer
   * partitions; the other numbers are the offset asked for.
   */
  readonly outOfRange?: 'before-start' | 'behind-end' | 'unknown-partition'
  /**
   * Set when the partition cannot be read just now, for people: who has not answered, or who leads it. No records, and
   * `nextOffset` is the offset asked for; the others of the same call are not concerned. Asked again, it may be over.
   */
  readonly unavailable?: string
  /**
   * Set when what the log holds at `nextOffset` cannot be read and never will be, for people: which offset, and why. The
   * records before it are given first, without this. Whoever goes on behind it skips records that nobody has seen.
   * `to`: the first offset behind it; `null`: not known.
   */
  readonly corrupt?: { readonly to: bigint | null; readonly reason: string }
}

/** Options of {@link Log.read}. */
export interface ReadOptions {
  readonly signal?: AbortSignal
  /**
   * Whether to ask the log's servers when nothing is at hand, and to wait for their answer, up to three seconds. Default `true`:
   * whatever was there before the call is given. `false`: gives what is at hand and lets the rest come; `onAppend` tells
   * when it has. For those who ask again and again about many partitions.
   */
  readonly wait?: boolean
}

/** How far a partition reaches. */
export interface PartitionOffsets {
  readonly partition: number
  /** The first offset that is still there. */
  readonly start: bigint
  /** As {@link ReadResult.end}: where to begin to read so as to miss nothing that is appended, or committed, from now on. */
  readonly end: bigint
  /**
   * The offset that the next record gets. Only a position above this is outside of the log; one between `end` and this was
   * reached while less was undecided.
   */
  readonly appendOffset: bigint
  /** Set when nobody can say just now, with the reason for people. The offsets are 0 then, and mean nothing. */
  readonly unavailable?: string
}

/** How far an application has committed in one partition. */
export interface CommittedPosition {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** The next offset that it will read. */
  readonly next: bigint
}

/**
 * A log: topics of partitions of records, appended at the end and read by offset. Offsets grow and have holes. Positions
 * are the reader's business.
 */
export interface Log {
  /** What kind of log it is: `table`, `kafka`. */
  readonly kind: string
  /** Identity of the cluster that holds it, where it has one of its own. */
  readonly cluster?: string | undefined
  /** Whether `append` can write in the caller's database transaction. */
  readonly transactional: boolean
  /**
   * Makes a topic, unless it is there. Default 6 partitions, bounds 1 … 1,024.
   * @throws E_LOG_TOPIC_EXISTS when it is there with another number of partitions than asked for.
   */
  createTopic(name: string, options?: { readonly partitions?: number }): Promise<Topic>
  /** Deletes a topic and its records, for ever. Does nothing when there is none of that name. */
  deleteTopic(name: string): Promise<void>
  /** The topic of that name as it is now, asked anew each time. */
  topic(name: string): Promise<Topic | undefined>
  /** All topics, by name. */
  topics(): Promise<readonly Topic[]>
  /**
   * How far each partition of a topic reaches, by partition: all of them, or those that are named and exist. Empty when
   * there is no such topic (any more).
   */
  offsets(
    topicId: string,
    options?: { readonly partitions?: readonly number[] },
  ): Promise<readonly PartitionOffsets[]>
  /**
   * The earliest offset at or after which everything with a timestamp at or after `time` lies; the end of the visible log
   * when there is nothing of the kind.
   * @throws E_LOG_UNKNOWN_TOPIC; E_LOG_UNAVAILABLE, retryable, when nobody can say just now.
   */
  offsetAt(topicId: string, partition: number, time: Date): Promise<bigint>
  /**
   * Reads partitions from offsets, one result per request, in their order. Never waits for records: a result may have
   * none. No record is passed over: none at or above `nextOffset` of one read will ever appear below it.
   * @throws the signal's reason when it is aborted before the reading.
   */
  read(requests: readonly ReadRequest[], options?: ReadOptions): Promise<readonly ReadResult[]>
  /**
   * Calls `listener` when there may be something new to read of the topics of those ids; of any, when there are none. A
   * hint only: it may come late, twice or never. The returned function ends it.
   */
  onAppend(listener: (topicIds: readonly string[]) => void): () => void
  /**
   * Appends records in one step, in the order given, and says where they are. With `tx`, which must be a client inside a
   * transaction, they are there when and if that commits, and the caller wakes readers afterwards.
   * @throws E_LOG_UNKNOWN_TOPIC when a topic, or the partition asked for, does not exist.
   * @throws E_EVENT_TOO_LARGE when keys, values and headers have more than 128 MiB together, or a record more than the log
   * takes.
   * @throws E_LOG_UNAVAILABLE or E_LOG_CONNECT, retryable, when nothing was written because the log could not be reached.
   * @throws E_LOG_UNKNOWN_APPEND when nobody can say whether all was written, or only a part was. Look before repeating:
   * `writtenOf` says which records are known to be written, its `cause` why the others are not.
   * @throws E_LOG_NOT_TRANSACTIONAL when there is a `tx` and the log is not `transactional`.
   */
  append(
    records: readonly NewRecord[],
    options?: { readonly tx?: Queryable },
  ): Promise<readonly AppendedRecord[]>
  /**
   * Deletes the records of a partition below `beforeOffset`, or below the end of the visible log if that is lower, and
   * gives where the partition starts now. Offsets go on from where they are.
   * @throws E_LOG_UNKNOWN_TOPIC
   */
  purge(topicId: string, partition: number, beforeOffset: bigint): Promise<bigint>
  /**
   * Tells the log how far an application has committed, for lag tools that look there. Best effort: it may be lost, and
   * nothing of ours ever reads it. Resolves to whether the log took it; never rejects.
   */
  noteCommitted?(application: string, positions: readonly CommittedPosition[]): Promise<boolean>
  /** Ends what runs in the background. Safe twice. The pool or client it was given stays open. */
  close(): Promise<void>
}
