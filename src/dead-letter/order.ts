import { noteAction, type OrderedBy } from '../control/operator-action.ts'
import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { retryConflicts } from '../postgres/retry-conflicts.ts'
import { transaction } from '../postgres/transaction.ts'
import { throwNotFound } from './not-found.ts'
import { carriedConditions, selectedPages } from './selected.ts'
import { selectedSql, type DeadLetterSelection } from './selection.ts'

/** What carries an order out; an operator has it all. */
export interface DeadLetterOrderParts {
  readonly core: Core
  readonly pool: Pool
  /** Who orders; kept with every order. */
  readonly user: string
}

/** Discarded in one transaction: enough to be quick, few enough to hold no lock for long. */
const DISCARD_CHUNK = 5_000

/** What was there when somebody looked. */
export interface SeenSoFar {
  /** Only lower numbers. */
  readonly end: bigint
  /** Only what has failed before, by the database's clock and to the microsecond, as the database writes it. */
  readonly before: string
}

/** Where what is there now ends. What fails later has a higher number, or a later time where it keeps its number. */
export async function seenSoFar(db: Queryable): Promise<SeenSoFar> {
  const { rows } = await db.query<{ end: string; before: string }>(
    `/* millrace:dead-letter-seen */ select coalesce(max(id) + 1, 0)::text as "end", statement_timestamp()::text as before
     from millrace.dead_letter`,
  )
  const { end, before } = rows[0] as (typeof rows)[0]
  return { end: BigInt(end), before }
}

/**
 * Discards what is open of a selection: it is not replayed, and not counted as open, any more. Bytes, error and history
 * stay. In transactions of 5,000 at most, each with its own note in the audit, so what was done before an error stays done.
 * @param order.reason why: without one, nobody will know later that it was right.
 * @param order.seen only what was there then: what has failed later, also of the same number, nobody has looked at.
 * @returns how many were discarded.
 */
export async function discardDeadLetters(
  parts: DeadLetterOrderParts,
  selection: DeadLetterSelection,
  how: { readonly reason: string; readonly seen: SeenSoFar },
): Promise<number> {
  if (carriedConditions(selection) === undefined) return discard(parts, selection, selection, how)
  let discarded = 0
  for await (const ids of selectedPages(parts.pool, selection, how.seen.end)) {
    if (ids.length > 0) discarded += await discard(parts, { ...selection, ids }, selection, how)
  }
  return discarded
}

/** @param asked what the operator has named, for the audit. */
async function discard(
  { core, pool, user }: DeadLetterOrderParts,
  selection: DeadLetterSelection,
  asked: DeadLetterSelection,
  { reason, seen }: { readonly reason: string; readonly seen: SeenSoFar },
): Promise<number> {
  let discarded = 0
  for (;;) {
    const count = await retryConflicts(core, () =>
      transaction(pool, core, async (tx) => {
        const values: unknown[] = []
        const pass = (value: unknown): string => `$${values.push(value)}`
        const { rowCount } = await tx.query(
          `/* millrace:dead-letter-discard */ update millrace.dead_letter
           set state = 'discarded', closed_at = clock_timestamp()
           where id in (select d.id from millrace.dead_letter d where ${selectedSql(selection, pass)}
               and d.id < ${pass(String(seen.end))}::bigint
               and coalesce(d.failed_at, d.created_at) < ${pass(seen.before)}::timestamptz order by d.id limit ${DISCARD_CHUNK} for update)`,
          values,
        )
        const changed = rowCount ?? 0
        if (changed > 0) {
          const action = 'dlq.discard'
          await noteAction(tx, { user, reason, action, filter: asked, count: changed })
        }
        return changed
      }),
    )
    discarded += count
    if (count < DISCARD_CHUNK) return discarded
  }
}

/** An edit of a dead letter. */
export interface DeadLetterEdit extends Pick<OrderedBy, 'reason'> {
  /** What replays hand over in place of the original's value, which is kept; null: a tombstone. */
  readonly value: Uint8Array | null
}

/**
 * Gives a dead letter another value for its replays. The original bytes, and every earlier edit, are kept.
 * @returns the number of the edit, counted from 1.
 * @throws E_DLQ_NOT_FOUND; E_DLQ_STATE when it is closed, or comes from a job, whose args cannot be edited.
 */
export async function editDeadLetter(
  { core, pool, user }: DeadLetterOrderParts,
  id: bigint,
  { value, reason }: DeadLetterEdit,
): Promise<number> {
  return transaction(pool, core, async (tx) => {
    const { rows: held } = await tx.query<{ state: string; stage: string }>(
      '/* millrace:dead-letter-hold */ select state, stage from millrace.dead_letter where id = $1 for update',
      [id],
    )
    const { state, stage } = held[0] ?? throwNotFound(id)
    if (stage === 'job') {
      throw new MillraceError(
        'E_DLQ_STATE',
        `dead letter ${id} is a discarded job, whose args stay as they are; insert a new job and discard this one`,
        { details: { id: String(id) } },
      )
    }
    if (state !== 'open' && state !== 'parked') {
      throw new MillraceError(
        'E_DLQ_STATE',
        `dead letter ${id} is ${state}: there is nothing left to edit it for`,
        {
          details: { id: String(id), state },
        },
      )
    }
    const { rows } = await tx.query<{ revision: number }>(
      `/* millrace:dead-letter-edit */ with edited as (
         update millrace.dead_letter set revision = revision + 1 where id = $1 returning revision
       )
       insert into millrace.dead_letter_edit (dead_letter_id, revision, value, edited_by, reason)
       select $1, revision, $2, $3, $4 from edited returning revision`,
      [id, value, user, reason ?? null],
    )
    const revision = rows[0]?.revision ?? 0
    await noteAction(tx, {
      user,
      reason,
      action: 'dlq.edit',
      filter: { id },
      count: 1,
      detail: { revision },
    })
    return revision
  })
}
