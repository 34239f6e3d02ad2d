import type { ErrorDescription } from '../errors/describe.ts'
import type { Header } from '../events/raw-record.ts'
import { headersFromJson } from '../log/headers-json.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { DeadLetterStage, Trace } from './dead-letter.ts'
import { throwNotFound } from './not-found.ts'

// What operators may order stands beside what they may ask.
export { discardDeadLetters, editDeadLetter, type DeadLetterEdit } from './order.ts'
export type { DeadLetterSelection } from './selection.ts'

/** What became of a dead letter. `parked`: it has failed in as many replays as were allowed. */
export type DeadLetterState = 'open' | 'replayed' | 'discarded' | 'parked'

/** Which dead letters to list. All given conditions hold at once. */
export interface DeadLetterFilter {
  readonly application?: string
  readonly handler?: string
  readonly stage?: DeadLetterStage
  readonly topic?: string
  readonly state?: DeadLetterState
  /** Only those of this group. */
  readonly fingerprint?: string
  readonly since?: Date
  readonly until?: Date
  /** Only those with a lower number: the next page. */
  readonly before?: bigint
  /** At most this many. Default 50. Bounds 1 … 1,000. */
  readonly limit?: number
}

/** A dead letter in a list: everything but the bytes. */
export interface DeadLetterSummary {
  readonly id: bigint
  readonly application: string | null
  readonly handler: string
  readonly stage: DeadLetterStage
  readonly topic: string | null
  readonly topicId: string | null
  readonly partition: number | null
  readonly offset: bigint | null
  /** The log that the origin is in: Kafka's id of the cluster, or `table`. */
  readonly cluster: string | null
  /** Who produced the record: CloudEvents' source. */
  readonly producer: string | null
  readonly generation: number | null
  readonly eventId: string | null
  readonly eventType: string | null
  readonly eventVersion: number | null
  readonly jobId: string | null
  readonly kind: string | null
  readonly error: ErrorDescription
  /** The same for failures with the same cause. Null: it was set aside before there were fingerprints. */
  readonly fingerprint: string | null
  readonly attempts: number
  readonly codeVersion: string | null
  readonly trace: Trace
  readonly state: DeadLetterState
  /** In how many replays it has failed. */
  readonly replays: number
  /** How often it was edited. */
  readonly revision: number
  /** When it was handled or discarded. */
  readonly closedAt: Date | null
  readonly createdAt: Date
}

/** A dead letter with all that is kept of it. */
export interface DeadLetter extends DeadLetterSummary {
  readonly recordTimestamp: Date | null
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: readonly Header[]
  /** Args of a discarded job, as the JSON text that was stored. */
  readonly argsJson: string | null
}

const SUMMARY_COLUMNS = `id::text, application, handler, stage, topic, topic_id, partition, "offset"::text as "offset",
  generation, event_id, event_type, event_version, job_id, kind, error, attempts, code_version, trace, state, created_at,
  nullif(fingerprint, '') as fingerprint, cluster, producer, replays, revision, closed_at`

interface SummaryRow extends Record<string, unknown> {
  id: string
  application: string | null
  handler: string
  stage: DeadLetterStage
  topic: string | null
  topic_id: string | null
  partition: number | null
  offset: string | null
  generation: number | null
  event_id: string | null
  event_type: string | null
  event_version: number | null
  job_id: string | null
  kind: string | null
  error: ErrorDescription
  attempts: number
  code_version: string | null
  trace: Trace | null
  state: DeadLetterState
  replays: number
  revision: number
  closed_at: Date | null
  created_at: Date
  fingerprint: string | null
  cluster: string | null
  producer: string | null
}

interface FullRow extends SummaryRow {
  record_timestamp: Date | null
  key: Buffer | null
  value: Buffer | null
  headers: string | null
  args: string | null
}

/** An edit of a dead letter: what replays hand over in place of its value. */
export interface KeptEdit {
  readonly revision: number
  readonly value: Uint8Array | null
  readonly editedBy: string
  readonly reason: string | null
  readonly editedAt: Date
}

/** The edits of a dead letter, oldest first. */
export async function listEdits(db: Queryable, id: bigint): Promise<KeptEdit[]> {
  const { rows } = await db.query<KeptEdit & Record<string, unknown>>(
    `/* millrace:dead-letter-edits */ select revision, value, edited_by as "editedBy", reason, edited_at as "editedAt"
     from millrace.dead_letter_edit where dead_letter_id = $1 order by revision limit 1000`,
    [id],
  )
  return rows
}

/** Dead letters, newest first, a page at a time. */
export async function listDeadLetters(
  db: Queryable,
  filter: DeadLetterFilter = {},
): Promise<DeadLetterSummary[]> {
  const { rows } = await db.query<SummaryRow>(
    `/* millrace:dead-letter-list */ select ${SUMMARY_COLUMNS} from millrace.dead_letter
     where ($1::text is null or application = $1) and ($2::text is null or handler = $2)
       and ($3::text is null or stage = $3) and ($4::text is null or topic = $4)
       and ($5::text is null or state = $5)
       and ($6::timestamptz is null or created_at >= $6) and ($7::timestamptz is null or created_at < $7)
       and ($8::bigint is null or id < $8) and ($10::text is null or fingerprint = $10)
     order by dead_letter.id desc limit $9`,
    [
      filter.application ?? null,
      filter.handler ?? null,
      filter.stage ?? null,
      filter.topic ?? null,
      filter.state ?? null,
      filter.since ?? null,
      filter.until ?? null,
      filter.before ?? null,
      Math.min(1_000, Math.max(1, filter.limit ?? 50)),
      filter.fingerprint ?? null,
    ],
  )
  return rows.map(summary)
}

/**
 * One dead letter, whole.
 * @throws E_DLQ_NOT_FOUND
 */
export async function getDeadLetter(db: Queryable, id: bigint): Promise<DeadLetter> {
  const { rows } = await db.query<FullRow>(
    `/* millrace:dead-letter-get */ select ${SUMMARY_COLUMNS}, record_timestamp, key, value, headers::text as headers,
       args::text as args
     from millrace.dead_letter where id = $1`,
    [id],
  )
  const row = rows[0] ?? throwNotFound(id)
  return {
    ...summary(row),
    recordTimestamp: row.record_timestamp,
    key: row.key,
    value: row.value,
    headers: headersFromJson(row.headers),
    argsJson: row.args,
  }
}

function summary(row: SummaryRow): DeadLetterSummary {
  return {
    id: BigInt(row.id),
    application: row.application,
    handler: row.handler,
    stage: row.stage,
    topic: row.topic,
    topicId: row.topic_id,
    partition: row.partition,
    offset: row.offset === null ? null : BigInt(row.offset),
    cluster: row.cluster,
    producer: row.producer,
    generation: row.generation,
    eventId: row.event_id,
    eventType: row.event_type,
    eventVersion: row.event_version,
    jobId: row.job_id,
    kind: row.kind,
    error: row.error,
    fingerprint: row.fingerprint,
    attempts: row.attempts,
    codeVersion: row.code_version,
    trace: row.trace ?? {},
    state: row.state,
    replays: row.replays,
    revision: row.revision,
    closedAt: row.closed_at,
    createdAt: row.created_at,
  }
}
