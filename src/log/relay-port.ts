import type { Log, LogRecord, NewRecord } from './port.ts'

/** How long a log lets the transaction of a silent relay be open, in milliseconds; its readers wait behind that. */
export const RELAY_TRANSACTION_MS = 10_000

/** A record on its way from the outbox into a log. */
export type RelayedRecord = Pick<LogRecord, 'topic' | 'key' | 'value' | 'headers' | 'timestamp'> & {
  /** `null`: chosen by the key, by chance where there is none. */
  readonly partition: number | null
}

/** Whose cursor it is. */
export interface RelayIdentity {
  /** Identity of the installation, a UUID: its relays share one place for their cursors. */
  readonly id: string
  /** Of the outbox. Two producers of one shard shut each other out. */
  readonly shard: number
}

/**
 * Writes records into a log together with a cursor: both, or neither. At any time at most one of a shard gets through.
 *
 * Modes: new → (open) → open → (close) → closed. After an error of `produce` other than E_LOG_UNKNOWN_TOPIC nobody knows
 * what became of it: close it; the next one's `open` settles it and tells.
 */
export interface RelayProducer {
  /**
   * Shuts out whoever has produced for this shard so far, ends what they left open, and only then reads the shard's cursor
   * as it was last written; `null` if it never was.
   */
  open(options?: { readonly signal?: AbortSignal }): Promise<string | null>
  /**
   * Writes the records, in order, and the cursor.
   * @throws E_LOG_UNKNOWN_TOPIC before anything is written, when a topic or the partition asked for does not exist.
   * @throws E_EVENT_TOO_LARGE, E_EVENT_REFUSED when the log refuses one of the records, for its size or for what else it is or
   * where it goes: nothing is written then, and the same records are refused again.
   * @throws E_LOG_FENCED when another producer of this shard was opened since.
   */
  produce(records: readonly RelayedRecord[], cursor: string): Promise<void>
  /** Ends the connections. Safe twice, and before `open`. What is not decided stays so until the next `open`. */
  close(): Promise<void>
}

/** A log that relays can write to. */
export interface RelayLog extends Log {
  /**
   * Looks at records before they are kept for a relay.
   * @throws E_EVENT_TOO_LARGE when one is larger than the log is said to take.
   */
  checkRelayed(records: readonly NewRecord[]): void
  relayProducer(identity: RelayIdentity): RelayProducer
}

/** Whether relays can write to `log`. */
export function isRelayLog(log: Log): log is RelayLog {
  return 'relayProducer' in log && typeof log.relayProducer === 'function'
}
