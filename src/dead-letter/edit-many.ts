import { noteAction } from '../control/operator-action.ts'
import { byteaArray, plainArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { retryConflicts } from '../postgres/retry-conflicts.ts'
import { transaction } from '../postgres/transaction.ts'
import { changeOf, type ValueChange } from './change.ts'
import type { DeadLetterOrderParts, SeenSoFar } from './order.ts'
import { LOOKED_INTO_BYTES } from './payload.ts'
import { selectedPages } from './selected.ts'
import { selectedSql, type DeadLetterSelection } from './selection.ts'

/** What became of the dead letters that were to be edited. */
export interface ManyEdits {
  /** They have another value, or, in a dry run, would have. */
  readonly edited: number
  /** Their value is as it is to be already. */
  readonly unchanged: number
  /** Their value is no JSON; a tombstone is none either. */
  readonly notJson: number
  /** There is nothing in their value that the place to set could be in. */
  readonly noPlace: number
  /** Their value is larger than 1 MiB. */
  readonly tooLarge: number
  /** They are discarded jobs, whose args stay as they are. */
  readonly jobs: number
}

/** How many are edited, and by what. */
export interface ManyEditsOrder {
  readonly change: ValueChange
  readonly reason?: string | undefined
  /** Only what was there then. */
  readonly seen: SeenSoFar
  /** Changes nothing; says what would be. Default `false`. */
  readonly dryRun?: boolean
  /** Is told of each value that changes, in order, until it returns false. In a dry run only. */
  readonly show?: (id: bigint, before: Uint8Array, after: Uint8Array) => boolean
}

type Outcome = keyof ManyEdits

/** Edited in one transaction: values are larger than states. */
const CHUNK = 100
/** Of an order that found nothing. */
export const NO_EDITS: ManyEdits = {
  edited: 0,
  unchanged: 0,
  notJson: 0,
  noPlace: 0,
  tooLarge: 0,
  jobs: 0,
}
const OUTCOMES = {
  unchanged: 'unchanged',
  'not-json': 'notJson',
  'no-place': 'noPlace',
} as const

/**
 * Gives the dead letters of a selection another value for their replays, made of the one that a replay would hand over now.
 * The original bytes, and every earlier edit, are kept. What cannot be changed is counted and left as it is.
 *
 * In transactions of 100, the newest first, each of which notes in the audit what it did. The same order again edits what is
 * left, and to the same values.
 * @throws E_CONFIG_INVALID
 */
export async function editDeadLetters(
  parts: DeadLetterOrderParts,
  selection: DeadLetterSelection,
  order: ManyEditsOrder,
): Promise<ManyEdits> {
  const { core, pool } = parts
  const change = changeOf(order.change)
  let sum = NO_EDITS
  let { show } = order
  for await (const page of selectedPages(pool, selection, order.seen.end)) {
    for (let at = 0; at < page.length; at += CHUNK) {
      const ids = page.slice(at, at + CHUNK)
      if (order.dryRun === true) {
        const { counts, edits } = await planned(pool, { ...selection, ids }, order, change)
        sum = added(sum, counts)
        for (const { id, before, after } of edits)
          if (show?.(id, before, after) === false) show = undefined
        continue
      }
      const done = await retryConflicts(core, () =>
        transaction(pool, core, async (tx) => {
          const { counts, edits } = await planned(tx, { ...selection, ids }, order, change, true)
          if (edits.length === 0) return counts
          await write(tx, parts.user, order.reason, edits)
          await note(tx, parts, selection, order, counts)
          return counts
        }),
      )
      sum = added(sum, done)
    }
  }
  return sum
}

interface Edit {
  readonly id: bigint
  readonly before: Uint8Array
  readonly after: Uint8Array
}

interface Planned {
  readonly counts: ManyEdits
  /** The newest first. */
  readonly edits: readonly Edit[]
}

interface Row extends Record<string, unknown> {
  readonly id: string
  readonly stage: string
  readonly large: boolean
  readonly value: Buffer | null
}

/** What the change makes of these, as they are now; `hold`: until the transaction ends, so that nothing comes between. */
async function planned(
  db: Queryable,
  selection: DeadLetterSelection,
  { seen }: ManyEditsOrder,
  change: ReturnType<typeof changeOf>,
  hold = false,
): Promise<Planned> {
  const values: unknown[] = []
  const pass = (value: unknown): string => `$${values.push(value)}`
  const chosen = `${selectedSql(selection, pass)} and d.id < ${pass(String(seen.end))}::bigint
     and coalesce(d.failed_at, d.created_at) < ${pass(seen.before)}::timestamptz`
  // A statement of its own: the next sees what whoever held them before has made of them.
  if (hold)
    await db.query(
      `/* millrace:dead-letter-edit-hold */ select from millrace.dead_letter d where ${chosen} order by d.id for update`,
      values,
    )
  const { rows } = await db.query<Row>(
    `/* millrace:dead-letter-edit-plan */ select d.id::text, d.stage, coalesce(octet_length(c.value), 0) > ${LOOKED_INTO_BYTES} as large,
       case when octet_length(c.value) <= ${LOOKED_INTO_BYTES} then c.value end as value
     from millrace.dead_letter d
     left join millrace.dead_letter_edit e on e.dead_letter_id = d.id and e.revision = d.revision
     cross join lateral (select case when d.revision = 0 then d.value else e.value end as value) c
     where ${chosen} order by d.id desc`,
    values,
  )
  const counts = { ...NO_EDITS }
  const edits: Edit[] = []
  for (const { id, stage, large, value } of rows) {
    const outcome: Outcome | Edit =
      stage === 'job' ? 'jobs' : large ? 'tooLarge' : editOf(BigInt(id), value, change)
    if (typeof outcome === 'object') edits.push(outcome)
    counts[typeof outcome === 'object' ? 'edited' : outcome] += 1
  }
  return { counts, edits }
}

function editOf(
  id: bigint,
  before: Uint8Array | null,
  change: ReturnType<typeof changeOf>,
): Edit | Outcome {
  const made = change(before)
  if (made.outcome !== 'changed') return OUTCOMES[made.outcome]
  return { id, before: before ?? new Uint8Array(), after: made.value }
}

async function write(
  tx: Queryable,
  user: string,
  reason: string | undefined,
  edits: readonly Edit[],
): Promise<void> {
  await tx.query(
    `/* millrace:dead-letter-edit-many */ with edited as (
       update millrace.dead_letter d set revision = d.revision + 1
       from unnest($1::bigint[], $2::bytea[]) u (id, value) where d.id = u.id
       returning d.id, d.revision, u.value
     )
     insert into millrace.dead_letter_edit (dead_letter_id, revision, value, edited_by, reason)
     select id, revision, value, $3, $4 from edited`,
    [
      plainArray(edits.map(({ id }) => id)),
      byteaArray(edits.map(({ after }) => after)),
      user,
      reason ?? null,
    ],
  )
}

/** Notes what was done, by its places: the values are with the edits, and go with them. */
async function note(
  tx: Queryable,
  { user }: DeadLetterOrderParts,
  filter: DeadLetterSelection,
  { change: { set = [], unset = [] }, reason }: ManyEditsOrder,
  { edited: count, ...others }: ManyEdits,
): Promise<void> {
  const places = set.map((text) => text.slice(0, text.indexOf('=')))
  const detail = { set: places, unset, ...others }
  await noteAction(tx, { user, reason, action: 'dlq.edit', filter, count, detail })
}

function added(one: ManyEdits, other: ManyEdits): ManyEdits {
  const sum = { ...one }
  for (const outcome of Object.keys(NO_EDITS) as Outcome[]) sum[outcome] += other[outcome]
  return sum
}
