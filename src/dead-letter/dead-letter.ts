import { storableText } from '../core/storable-text.ts'
import type { ErrorDescription } from '../errors/describe.ts'
import type { Header } from '../events/raw-record.ts'
import { headersToJson } from '../log/headers-json.ts'
import { byteaArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { FINGERPRINT_VERSION, fingerprintOf } from './fingerprint.ts'
import type { DeadLetterStage } from './stage.ts'

export type { DeadLetterStage } from './stage.ts'

/** Where in the log a record stands. */
export interface RecordOrigin {
  readonly topic: string
  /** Null: another program says where it was, and knows topics by their names only. */
  readonly topicId: string | null
  readonly partition: number
  readonly offset: bigint
  /** Of the position that read it; grows when records are read again on purpose. */
  readonly generation: number
}

/** Ids that tell what caused what. */
export interface Trace {
  readonly correlationId?: string
  readonly causationId?: string
  readonly traceparent?: string
  /** The record of a dead-letter topic of another program that this was made of. */
  readonly takenFrom?: TakenFrom
}

/** Where a record stands in a dead-letter topic of another program. */
export interface TakenFrom {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** Digits: JSON has no whole numbers of that size. */
  readonly offset: string
}

/** A dead letter to be written. */
export interface NewDeadLetter {
  readonly application: string | null
  /** The handler it failed for; `*`: it could not be read, so for all of the application's. */
  readonly handler: string
  readonly stage: DeadLetterStage
  readonly origin: RecordOrigin | null
  /** The log that the origin is in: Kafka's id of the cluster, or `table`. */
  readonly cluster?: string
  /** The record as it came, byte for byte. Null for a job that came from no record. */
  readonly record: {
    readonly key: Uint8Array | null
    readonly value: Uint8Array | null
    readonly headers: readonly Header[]
    readonly timestamp: Date
  } | null
  readonly event: { readonly id?: string; readonly type?: string; readonly version?: number }
  readonly job: { readonly id: string; readonly kind: string; readonly argsJson: string } | null
  readonly error: ErrorDescription
  readonly attempts: number
  readonly codeVersion: string | null
  readonly trace: Trace
}

/** A record has one dead letter per handler and generation. */
const KEEP_FIRST = 'on conflict do nothing'

/** Whether a replay has given the job back; one that somebody retried has failed in no replay. */
const REPLAYED = `dead_letter.state = 'replayed' and dead_letter.max_replays is not null`

/** A job that was discarded, given back and discarded again has one dead letter: it tells of the last time. */
const TELL_LAST = `on conflict (job_id) where job_id is not null do update
  set error = excluded.error, attempts = excluded.attempts, code_version = excluded.code_version,
    fingerprint = excluded.fingerprint, fingerprint_version = excluded.fingerprint_version,
    exported = excluded.exported, created_at = clock_timestamp(), closed_at = null, failed_at = null, max_replays = null,
    replays = dead_letter.replays + (${REPLAYED})::int,
    state = case when ${REPLAYED} and dead_letter.replays + 1 >= dead_letter.max_replays then 'parked' else 'open' end`

/**
 * Writes dead letters in the caller's transaction: the one that moves the position past the record, or that finishes the
 * job. Resolves to how many are new; one already there for the same record and handler stays as it is, one for the same
 * job is brought up to date.
 */
export async function writeDeadLetters(
  db: Queryable,
  letters: readonly NewDeadLetter[],
): Promise<number> {
  const ofJobs = letters.filter(({ job }) => job !== null)
  const ofRecords = letters.filter(({ job }) => job === null)
  return (await write(db, ofRecords, KEEP_FIRST)) + (await write(db, ofJobs, TELL_LAST))
}

async function write(
  db: Queryable,
  letters: readonly NewDeadLetter[],
  onConflict: string,
): Promise<number> {
  if (letters.length === 0) return 0
  const column = <T>(pick: (letter: NewDeadLetter) => T): T[] => letters.map(pick)
  const { rows } = await db.query<{ fresh: boolean }>(
    `/* millrace:dead-letter-write */ insert into millrace.dead_letter
       (application, handler, stage, topic, topic_id, partition, "offset", generation, record_timestamp,
        key, value, headers, event_id, event_type, event_version, job_id, kind, args, error, attempts,
        code_version, trace, fingerprint, fingerprint_version, cluster, producer, exported)
     select application, handler, stage, topic, topic_id, partition, "offset", generation, record_timestamp,
        key, value, headers::json, event_id, event_type, event_version, job_id, kind, args::json, error::json,
        attempts, code_version, trace::json, fingerprint, $24, cluster, producer,
        case when exists (select from millrace.dead_letter_export e where e.application = letter.application)
          then 'due' end
     from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::int[], $7::bigint[], $8::int[],
        $9::timestamptz[], $10::bytea[], $11::bytea[], $12::text[], $13::text[], $14::text[], $15::int[],
        $16::uuid[], $17::text[], $18::text[], $19::text[], $20::int[], $21::text[], $22::text[],
        $23::text[], $25::text[], $26::text[])
       as letter (application, handler, stage, topic, topic_id, partition, "offset", generation, record_timestamp,
        key, value, headers, event_id, event_type, event_version, job_id, kind, args, error, attempts,
        code_version, trace, fingerprint, cluster, producer)
     ${onConflict} returning xmax = 0 as fresh`,
    [
      column((l) => l.application),
      column((l) => l.handler),
      column((l) => l.stage),
      column((l) => l.origin?.topic ?? null),
      column((l) => l.origin?.topicId || null),
      column((l) => l.origin?.partition ?? null),
      column((l) => l.origin?.offset ?? null),
      column((l) => l.origin?.generation ?? null),
      column((l) => l.record?.timestamp.toISOString() ?? null),
      byteaArray(column((l) => l.record?.key ?? null)),
      byteaArray(column((l) => l.record?.value ?? null)),
      column((l) => (l.record === null ? null : headersToJson(l.record.headers))),
      column((l) => storable(l.event.id)),
      column((l) => storable(l.event.type)),
      column((l) => l.event.version ?? null),
      column((l) => l.job?.id ?? null),
      column((l) => l.job?.kind ?? null),
      column((l) => l.job?.argsJson ?? null),
      column((l) => JSON.stringify(l.error)),
      column((l) => l.attempts),
      column((l) => l.codeVersion),
      column((l) => JSON.stringify(l.trace)),
      column(fingerprintOf),
      FINGERPRINT_VERSION,
      column((l) => l.cluster ?? null),
      column(producerOf),
    ],
  )
  return rows.filter(({ fresh }) => fresh).length
}

/**
 * Closes the open dead letters of jobs that somebody retries, in the transaction that brings them back. One that is discarded
 * again opens its own again, and has failed in no more replays than before.
 */
export async function closeDeadLettersOfJobs(
  db: Queryable,
  jobIds: readonly string[],
): Promise<void> {
  if (jobIds.length === 0) return
  await db.query(
    `/* millrace:dead-letter-close */ update millrace.dead_letter
     set state = 'replayed', closed_at = clock_timestamp(), max_replays = null
     where job_id = any ($1::uuid[]) and state in ('open', 'parked')`,
    [jobIds],
  )
}

const PRODUCER_LIMIT = 1_000

/** Who produced the record, as its CloudEvents header says. */
function producerOf({ record }: NewDeadLetter): string | null {
  const source = record?.headers.find(([name]) => name === 'ce_source')?.[1]
  return source == null ? null : storable(Buffer.from(source).toString().slice(0, PRODUCER_LIMIT))
}

/** A text from a record's header as Postgres can hold it; the header itself is kept as bytes beside it. */
function storable(text: string | undefined): string | null {
  return text === undefined ? null : storableText(text)
}
