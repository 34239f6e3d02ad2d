import type { Header } from '../events/raw-record.ts'
import type { NewRecord } from '../log/port.ts'
import type { Trace } from './dead-letter.ts'
import { KARAFKA, SPRING, SPRING_ATTEMPTS } from './foreign-headers.ts'
import { storedError } from './stored-error.ts'

/** A dead letter as it is copied. */
export interface ExportedLetter {
  readonly id: bigint
  readonly application: string
  readonly handler: string
  readonly stage: string
  readonly topic: string | null
  readonly partition: number | null
  readonly offset: bigint | null
  /** Null: there are no bytes of a record; key, value and headers say nothing then. */
  readonly recordTimestamp: Date | null
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: readonly Header[]
  readonly jobId: string | null
  readonly kind: string | null
  readonly argsJson: string | null
  readonly error: unknown
  readonly attempts: number
  readonly codeVersion: string | null
  readonly fingerprint: string
  readonly trace: Trace | null
  /** To the microsecond, as the database writes it. */
  readonly createdAt: string
}

/** What a stack may take of a record that is near the log's limit anyway. */
const STACK_LIMIT = 2_000

/** The topic that an application's dead letters are copied to. */
export function deadTopicOf(application: string): string {
  return `${application}.dead`
}

/**
 * A dead letter as a record: key, value and headers as the record had them, and behind them headers that say what became of
 * it, as Karafka (`source_…`) and Spring Kafka (`kafka_dlt-…`, integers as bytes) name them, and as we do (`millrace_…`). A
 * job that came from no record has its id as its key, and its args as its value.
 */
export function exportRecord(letter: ExportedLetter): NewRecord {
  const { application, topic, partition, offset, jobId, attempts } = letter
  const error = storedError(letter.error)
  // One with an origin may have no bytes: the log had lost them when its job was discarded.
  const ownRecord = letter.recordTimestamp !== null
  const text = (name: string, value: string | number | bigint | null | undefined): Header[] =>
    value === null || value === undefined || value === ''
      ? []
      : [[name, Buffer.from(String(value))]]
  const headers: Header[] = [
    ...letter.headers,
    ...text('millrace_dead-letter', letter.id),
    ...text('millrace_application', application),
    ...text('millrace_handler', letter.handler),
    ...text('millrace_stage', letter.stage),
    ...text('millrace_fingerprint', letter.fingerprint),
    ...text('millrace_error-code', error.code),
    ...text('millrace_code-version', letter.codeVersion),
    ...text('millrace_job', jobId),
    ...text('millrace_kind', letter.kind),
    ...text('source_trace_id', letter.trace?.traceparent),
    ...text(KARAFKA.topic, topic),
    ...text(KARAFKA.partition, partition),
    ...text(KARAFKA.offset, offset),
    ...text(KARAFKA.group, application),
    ...text(KARAFKA.attempts, attempts),
    // Last, so that whoever takes in the copy reads these: they have the error.
    [SPRING_ATTEMPTS.delivery, int32(attempts)],
    ...text(SPRING.class, error.class),
    ...text(SPRING.cause, error.causes?.[0]?.class),
    ...text(SPRING.message, error.message),
    ...text(SPRING.stack, error.stack?.slice(0, STACK_LIMIT)),
    ...text(SPRING.topic, topic),
    ...(partition === null ? [] : [[SPRING.partition, int32(partition)] as const]),
    ...(offset === null ? [] : [[SPRING.offset, int64(offset)] as const]),
    ...(letter.recordTimestamp === null
      ? []
      : [[SPRING.timestamp, int64(BigInt(letter.recordTimestamp.getTime()))] as const]),
    ...text(SPRING.group, application),
  ]
  return {
    topic: deadTopicOf(application),
    key: ownRecord || jobId === null ? letter.key : Buffer.from(jobId),
    value: ownRecord || letter.argsJson === null ? letter.value : Buffer.from(letter.argsJson),
    headers,
  }
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}
