import type { ErrorDescription } from '../errors/describe.ts'
import type { Row } from '../postgres/queryable.ts'
import type { FinishedJob } from './finished.ts'
import { decodeMeta } from './meta.ts'
import type { FinishedState } from './state.ts'

/** What a statement that finishes jobs selects for {@link decodeFinished}, of a row with `final`, `error` and `reason`. */
export const FINISHED_COLUMNS = `id, kind, queue, application, final, attempt, max_attempts, args::text as args,
  meta::text as meta, coalesce(error, last_error::text) as error, reason`

/** A row of {@link FINISHED_COLUMNS}. */
export interface FinishedRow extends Row {
  readonly id: string
  readonly kind: string
  readonly queue: string
  readonly application: string | null
  readonly final: FinishedState
  readonly attempt: number
  readonly max_attempts: number
  readonly args: string
  readonly meta: string | null
  readonly error: string | null
  readonly reason: string | null
}

/** The finished job in a row of {@link FINISHED_COLUMNS}. */
export function decodeFinished(row: FinishedRow): FinishedJob {
  return {
    id: row.id,
    kind: row.kind,
    queue: row.queue,
    application: row.application,
    state: row.final,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    argsJson: row.args,
    meta: decodeMeta(row.meta),
    error: row.error === null ? null : (JSON.parse(row.error) as ErrorDescription),
    reason: row.reason,
  }
}
