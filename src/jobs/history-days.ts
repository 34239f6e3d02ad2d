import type { Core } from '../core/core.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction } from '../postgres/transaction.ts'

const PARENTS = ['job_history', 'job_attempt', 'effect'] as const
const DAYS_AHEAD = 3
/** Making a partition takes the parent for a moment; everything that finishes jobs would queue up behind a longer wait. */
const LOCK_MS = 500

/** What it takes to make days. */
export interface HistoryDaysParts {
  readonly core: Core
  readonly pool: Pool
}

/** Makes the days of history from today to three ahead, so that a day on which nobody keeps up does no harm. */
export async function ensureHistoryDays({ core, pool }: HistoryDaysParts): Promise<void> {
  await transaction(pool, core, async (tx) => {
    await tx.query(`/* millrace:lock-timeout */ set local lock_timeout = ${LOCK_MS}`)
    for (const parent of PARENTS) {
      await tx.query('/* millrace:ensure-days */ select millrace.ensure_days($1, $2)', [
        parent,
        DAYS_AHEAD,
      ])
    }
  })
}

/**
 * Runs `write`, which moves jobs into the history, and once more when there was no day for them: nobody has kept up for
 * days. `write` must leave nothing behind when it fails.
 */
export async function withHistoryDays<T>(
  parts: HistoryDaysParts,
  write: () => Promise<T>,
): Promise<T> {
  try {
    return await write()
  } catch (error) {
    if (!(await madeMissingDay(parts, error))) throw error
    return write()
  }
}

/** Whether `error` says that a day of history is missing; then it is there now. */
export async function madeMissingDay(parts: HistoryDaysParts, error: unknown): Promise<boolean> {
  if (!isMissingDay(error)) return false
  parts.core.logger.warn({}, 'there was no day for finished jobs to be written to; it is made now')
  await ensureHistoryDays(parts)
  return true
}

/** PostgreSQL names the table in a field of its own, and names a constraint only if it is one that was violated. */
function isMissingDay(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code, schema, table, constraint } = error as {
    code?: unknown
    schema?: unknown
    table?: unknown
    constraint?: unknown
  }
  return (
    code === '23514' &&
    schema === 'millrace' &&
    constraint === undefined &&
    PARENTS.some((parent) => parent === table)
  )
}
