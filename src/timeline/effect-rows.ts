import { plainArray, textArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { DeclaredEffect } from './effect.ts'

/** Whose effects they are: an attempt's, or those of an application's handler for one event. */
export type EffectSource =
  | { readonly jobId: string; readonly attempt: number; readonly handler: string }
  | { readonly eventId: string; readonly application: string; readonly handler: string }

/** Effects of one source. */
export interface SourcedEffects {
  readonly source: EffectSource
  readonly effects: readonly DeclaredEffect[]
}

/** Writes effects in the caller's transaction, all with one statement. Nothing is done for nothing. */
export async function writeEffects(db: Queryable, given: readonly SourcedEffects[]): Promise<void> {
  const rows = given.flatMap(({ source, effects }) =>
    effects.map((effect) => ({ ...effect, jobId: null, attempt: null, ...NO_EVENT, ...source })),
  )
  if (rows.length === 0) return
  await db.query(
    `/* millrace:effect-write */ select millrace.effect_append($1::uuid[], $2::smallint[], $3::text[], $4::text[],
       $5::text[], $6::text[], $7::text[], $8::timestamptz[])`,
    [
      plainArray(rows.map(({ jobId }) => jobId ?? 'NULL')),
      plainArray(rows.map(({ attempt }) => attempt ?? 'NULL')),
      textArray(rows.map(({ eventId }) => eventId)),
      textArray(rows.map(({ application }) => application)),
      textArray(rows.map(({ handler }) => handler)),
      textArray(rows.map(({ name }) => name)),
      textArray(rows.map(({ detailsJson }) => detailsJson)),
      textArray(rows.map(({ at }) => at.toISOString())),
    ],
  )
}

const NO_EVENT = { eventId: null, application: null }

/** An effect as it is kept. */
export interface KeptEffect {
  readonly jobId: string | null
  readonly attempt: number | null
  readonly eventId: string | null
  readonly application: string | null
  /** The kind of the job, or the handler's name. */
  readonly handler: string
  readonly name: string
  readonly details: unknown
  /** By the clock of the process that did it. */
  readonly at: Date
}

/** Effects of these jobs and events, oldest first, at most `limit`. Both are looked up by indexes. */
export async function readEffects(
  db: Queryable,
  jobIds: readonly string[],
  eventIds: readonly string[],
  limit: number,
): Promise<KeptEffect[]> {
  const columns = 'job_id, attempt, event_id, application, handler, name, details, at, written_at'
  const { rows } = await db.query<KeptEffect & Record<string, unknown>>(
    `/* millrace:effect-read */ select job_id as "jobId", attempt, event_id as "eventId", application, handler, name, details, at
     from (
       select ${columns} from millrace.effect where job_id = any ($1::uuid[])
       union all
       select ${columns} from millrace.effect
       where event_id is not null and left(event_id, 64) = any ($2::text[]) and event_id = any ($3::text[])
     ) e order by at, written_at limit $4`,
    [jobIds, eventIds.map((id) => Array.from(id).slice(0, 64).join('')), eventIds, limit],
  )
  return rows
}
