import type { ErrorDescription } from '../errors/describe.ts'
import type { Header } from '../events/raw-record.ts'
import { headersFromJson } from '../log/headers-json.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { Trace } from './dead-letter.ts'
import { FILTER_SQL, filterValues, type DeadLetterFilter } from './filter.ts'
import { throwNotFound } from './not-found.ts'
import { takeSample, type SampleOutcome, type SampleRequest } from './sample.ts'
import { findDeadLetters, type DeadLetterSearch, type SearchOutcome } from './search.ts'
import type { DeadLetterStage, DeadLetterState } from './stage.ts'
import { storedError } from './stored-error.ts'

// What operators may ask, and order, stands beside each other.
export type { DeadLetterFilter } from './filter.ts'
export {
  listDeadLetterGroups,
  MOST_KEYS,
  type DeadLetterGroup,
  type DeadLetterGroups,
  type GroupFilter,
} from './groups.ts'
export { countParked, parkedWords } from './parked.ts'
export { parseCondition, type PayloadCondition } from './payload-path.ts'
export { MOST_COUNTED, type SampleRequest, type SampleReason } from './sample.ts'
export type { DeadLetterSearch } from './search.ts'
export { changeOf, type ValueChange } from './change.ts'
export { editDeadLetters, NO_EDITS, type ManyEdits } from './edit-many.ts'
export { discardDeadLetters, editDeadLetter, seenSoFar, type DeadLetterEdit } from './order.ts'
export type { DeadLetterSelection } from './selection.ts'
export type { DeadLetterState } from './stage.ts'

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
  /** When it failed last in a replay. Null: in none since it was set aside. */
  readonly failedAt: Date | null
  /** When it was handled or discarded. */
  readonly closedAt: Date | null
  /** Its copy in `<application>.dead`: `failed`: the log does not take it. Null: nobody asked for one. */
  readonly exported: 'due' | 'done' | 'failed' | null
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
  nullif(fingerprint, '') as fingerprint, cluster, producer, replays, revision, failed_at, closed_at, exported`

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
  error: unknown
  attempts: number
  code_version: string | null
  trace: Trace | null
  state: DeadLetterState
  replays: number
  revision: number
  failed_at: Date | null
  closed_at: Date | null
  created_at: Date
  fingerprint: string | null
  cluster: string | null
  producer: string | null
  exported: DeadLetterSummary['exported']
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
     where ${FILTER_SQL}
     order by dead_letter.id desc limit $10`,
    [...filterValues(filter), Math.min(1_000, Math.max(1, filter.limit ?? 50))],
  )
  return rows.map(summary)
}

/** What a search found, newest first. */
export interface FoundDeadLetters extends Omit<SearchOutcome, 'ids'> {
  readonly items: readonly DeadLetterSummary[]
}

/**
 * Dead letters by what they carry and by what their error says. Bounded pages are read and looked at here: how many, is told.
 * @throws the signal's reason when it is aborted between two pages.
 */
export async function searchDeadLetters(
  db: Queryable,
  search: DeadLetterSearch,
  options: { readonly signal?: AbortSignal } = {},
): Promise<FoundDeadLetters> {
  const { ids, ...outcome } = await findDeadLetters(db, search, options)
  return { ...outcome, items: await summariesOf(db, ids) }
}

/** A sample of a group: what its dead letters have in common, and some of them. */
export interface GroupSample extends Omit<SampleOutcome, 'picks'> {
  readonly samples: readonly {
    readonly why: SampleOutcome['picks'][number]['why']
    /** Of value and args. */
    readonly bytes: number
    readonly letter: DeadLetterSummary
  }[]
}

/**
 * Looks at up to 1,000 dead letters of a group, spread evenly.
 * @throws E_DLQ_NOT_FOUND when the group has none; the signal's reason when it is aborted.
 */
export async function sampleDeadLetters(
  db: Queryable,
  request: SampleRequest,
  options: { readonly signal?: AbortSignal } = {},
): Promise<GroupSample> {
  const { picks, ...outcome } = await takeSample(db, request, options)
  const letters = await summariesOf(
    db,
    picks.map(({ id }) => id),
  )
  const byId = new Map(letters.map((letter) => [letter.id, letter]))
  const samples = picks.flatMap(({ id, why, bytes }) => {
    const letter = byId.get(id)
    return letter === undefined ? [] : [{ why, bytes, letter }]
  })
  return { ...outcome, samples }
}

/** Dead letters by number, newest first; those that are gone are left out. */
async function summariesOf(db: Queryable, ids: readonly bigint[]): Promise<DeadLetterSummary[]> {
  if (ids.length === 0) return []
  const { rows } = await db.query<SummaryRow>(
    `/* millrace:dead-letter-these */ select ${SUMMARY_COLUMNS} from millrace.dead_letter
     where id = any ($1::bigint[]) order by dead_letter.id desc`,
    [ids.map(String)],
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

/**
 * Whose each of these dead letters is, in their order; null: of a job that no application made.
 * @throws E_DLQ_NOT_FOUND naming the first that is not there.
 */
export async function applicationsOf(
  db: Queryable,
  ids: readonly bigint[],
): Promise<(string | null)[]> {
  const { rows } = await db.query<{ id: string; application: string | null }>(
    `/* millrace:dead-letter-applications */ select id::text, application from millrace.dead_letter
     where id = any ($1::bigint[])`,
    [ids.map(String)],
  )
  const found = new Map(rows.map(({ id, application }) => [id, application]))
  return ids.map((id) => {
    const application = found.get(String(id))
    return application === undefined ? throwNotFound(id) : application
  })
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
    error: storedError(row.error),
    fingerprint: row.fingerprint,
    attempts: row.attempts,
    codeVersion: row.code_version,
    trace: row.trace ?? {},
    state: row.state,
    replays: row.replays,
    revision: row.revision,
    failedAt: row.failed_at,
    closedAt: row.closed_at,
    exported: row.exported,
    createdAt: row.created_at,
  }
}
