import { throwIfAborted } from '../core/abort.ts'
import type { ErrorDescription } from '../errors/describe.ts'
import type { Header } from '../events/raw-record.ts'
import { headersFromJson } from '../log/headers-json.ts'
import { plainArray, textArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { DeadLetterStage } from './dead-letter.ts'
import { FINGERPRINT_VERSION, fingerprintOf } from './fingerprint.ts'
import { carriedConditions, fitting } from './selected.ts'
import { selectedSql, type DeadLetterSelection } from './selection.ts'

/** A dead letter that a replay is about to hand over again. */
export interface LetterToReplay {
  readonly id: bigint
  readonly handler: string
  readonly stage: DeadLetterStage
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  readonly generation: number
  readonly timestamp: Date
  /** Null where the stage is `'job'`, like the value and the headers: a job goes back with its own args. */
  readonly key: Uint8Array | null
  /** As it was last edited, else as it came. */
  readonly value: Uint8Array | null
  readonly headers: readonly Header[]
  readonly jobId: string | null
  /** How often it was edited: what is handed over is what was read, or nothing. */
  readonly revision: number
}

interface LetterRow extends Record<string, unknown> {
  id: string
  handler: string
  stage: DeadLetterStage
  topic: string | null
  topic_id: string | null
  partition: number | null
  offset: string | null
  generation: number | null
  record_timestamp: Date | null
  key: Buffer | null
  value: Buffer | null
  headers: string | null
  job_id: string | null
  revision: number
}

/** The last edit of a dead letter, if it has one. */
const WITH_EDIT =
  'left join millrace.dead_letter_edit e on e.dead_letter_id = d.id and e.revision = d.revision'
/** The value that a replay hands over: an edit may be a tombstone. */
const HANDED_OVER = 'case when e.dead_letter_id is null then d.value else e.value end'

/** Which dead letters a replay still works on. */
interface LettersLeft {
  readonly id: bigint
  readonly next: bigint
  readonly end: bigint
}

/** Of so many at once it is looked up what they carry, where a selection asks for that. */
const LOOKED_AT = 500

/**
 * What of the selection a replay works on next, by number, and within limits: no more bytes at once, but one always.
 * @throws the signal's reason when it is aborted while it is looked up what dead letters carry, which may take long.
 */
export async function nextLetters(
  db: Queryable,
  selection: DeadLetterSelection,
  replay: LettersLeft,
  limits: { readonly records: number; readonly bytes: number },
  signal: AbortSignal,
): Promise<LetterToReplay[]> {
  const conditions = carriedConditions(selection)
  if (conditions === undefined) return candidates(db, selection, replay, limits)
  const wider = { ...limits, records: Math.max(LOOKED_AT, limits.records) }
  for (let { next } = replay; ; ) {
    throwIfAborted(signal)
    const some = await candidates(db, selection, { ...replay, next }, wider)
    const last = some.at(-1)
    if (last === undefined) return []
    const ids = await fitting(
      db,
      some.map(({ id }) => id),
      conditions,
    )
    const letters = some.filter(({ id }) => ids.has(id))
    if (letters.length > 0) return letters.slice(0, limits.records)
    next = last.id + 1n
  }
}

async function candidates(
  db: Queryable,
  selection: DeadLetterSelection,
  replay: LettersLeft,
  limits: { readonly records: number; readonly bytes: number },
): Promise<LetterToReplay[]> {
  const values: unknown[] = []
  const pass = (value: unknown): string => `$${values.push(value)}`
  const { rows } = await db.query<LetterRow>(
    `/* millrace:replay-letters */ with wanted as materialized (
       select d.id, case when d.stage = 'job' then 0 else coalesce(octet_length(d.key), 0)
         + coalesce(octet_length(${HANDED_OVER}), 0) + coalesce(octet_length(d.headers::text), 0) end as bytes
       from millrace.dead_letter d ${WITH_EDIT}
       where ${selectedSql(selection, pass)}
         and d.id >= ${pass(String(replay.next))}::bigint and d.id < ${pass(String(replay.end))}::bigint
         and not exists (select from millrace.replay_outcome o
           where o.replay_id = ${pass(String(replay.id))}::bigint and o.dead_letter_id = d.id)
       order by d.id limit ${pass(limits.records)}
     ), fitting as (
       select id from (select id, sum(bytes) over (order by id) - bytes as before from wanted) w
       where before < ${pass(limits.bytes)}::bigint
     )
     select d.id::text, d.handler, d.stage, d.topic, d.topic_id, d.partition, d."offset"::text as "offset", d.generation,
       d.record_timestamp, case when d.stage <> 'job' then d.key end as key,
       case when d.stage <> 'job' then ${HANDED_OVER} end as value,
       case when d.stage <> 'job' then d.headers::text end as headers, d.job_id, d.revision
     from fitting f join millrace.dead_letter d using (id) ${WITH_EDIT}
     order by d.id`,
    values,
  )
  return rows.map((row) => ({
    id: BigInt(row.id),
    handler: row.handler,
    stage: row.stage,
    topic: row.topic ?? '',
    topicId: row.topic_id ?? '',
    partition: row.partition ?? 0,
    offset: BigInt(row.offset ?? 0),
    generation: row.generation ?? 0,
    timestamp: row.record_timestamp ?? new Date(0),
    key: row.key,
    value: row.value,
    headers: headersFromJson(row.headers),
    jobId: row.job_id,
    revision: row.revision,
  }))
}

/**
 * Holds dead letters until the transaction ends, in the order of their numbers; gives those that are still to be worked on
 * and are what was read of them.
 *
 * Each is looked up by its number. Joined, a table without statistics, as it is right after a mass failure, was read as a whole
 * for every chunk: 490 ms where 70,000 were open, against 10 ms.
 */
export async function lockLetters(
  db: Queryable,
  letters: readonly Pick<LetterToReplay, 'id' | 'revision'>[],
): Promise<ReadonlySet<bigint>> {
  const { rows } = await db.query<{ id: string }>(
    `/* millrace:replay-lock */ select d.id::text
     from (select * from unnest($1::bigint[], $2::int[]) u(id, revision) order by id) l
     cross join lateral (select id, state, revision from millrace.dead_letter where id = l.id for update) d
     where d.revision = l.revision and d.state in ('open', 'parked')`,
    [
      plainArray(letters.map(({ id }) => String(id))),
      plainArray(letters.map(({ revision }) => revision)),
    ],
  )
  return new Set(rows.map(({ id }) => BigInt(id)))
}

/**
 * Closes dead letters that were handled, or whose jobs were given back.
 * @param maxReplays of jobs: in how many failed replays they are parked, which shows when they are discarded again.
 */
export async function closeReplayed(
  db: Queryable,
  ids: readonly bigint[],
  maxReplays: number | null = null,
): Promise<void> {
  if (ids.length === 0) return
  await db.query(
    `/* millrace:replay-close */ update millrace.dead_letter
     set state = 'replayed', closed_at = clock_timestamp(), max_replays = $2 where id = any ($1::bigint[])`,
    [plainArray(ids.map(String)), maxReplays],
  )
}

/** A dead letter that failed in a replay, and how. */
export interface FailedAgain {
  readonly id: bigint
  readonly handler: string
  readonly stage: DeadLetterStage
  readonly error: ErrorDescription
  readonly attempts: number
}

/**
 * Notes that dead letters failed again: each stays the one row it is, with more attempts and the new error, and is parked
 * when it has failed in `maxReplays` replays. Resolves to how many were.
 */
export async function noteFailedAgain(
  db: Queryable,
  failed: readonly FailedAgain[],
  { codeVersion, maxReplays }: { readonly codeVersion: string | null; readonly maxReplays: number },
): Promise<number> {
  if (failed.length === 0) return 0
  const { rows } = await db.query<{ state: string }>(
    `/* millrace:replay-failed */ update millrace.dead_letter d
     set handler = f.handler, stage = f.stage, error = f.error::json, attempts = d.attempts + f.attempts,
       replays = d.replays + 1, failed_at = clock_timestamp(), code_version = $6,
       fingerprint = f.fingerprint, fingerprint_version = $9,
       state = case when d.replays + 1 >= $7 then 'parked' else 'open' end
     from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::int[], $8::text[])
       f(id, handler, stage, error, attempts, fingerprint)
     where d.id = f.id returning d.state`,
    [
      plainArray(failed.map(({ id }) => String(id))),
      textArray(failed.map(({ handler }) => handler)),
      textArray(failed.map(({ stage }) => stage)),
      textArray(failed.map(({ error }) => JSON.stringify(error))),
      plainArray(failed.map(({ attempts }) => attempts)),
      codeVersion,
      maxReplays,
      textArray(failed.map(fingerprintOf)),
      FINGERPRINT_VERSION,
    ],
  )
  return rows.filter(({ state }) => state === 'parked').length
}
