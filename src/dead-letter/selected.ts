import { plainArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { fits, type CarriedConditions } from './carried.ts'
import { readPayloads } from './payload.ts'
import { parseCondition } from './payload-path.ts'
import { selectedSql, type DeadLetterSelection } from './selection.ts'

/**
 * The conditions of a selection that only what a dead letter carries can answer; undefined: it has none.
 * @throws E_CONFIG_INVALID
 */
export function carriedConditions({
  where,
  text,
}: DeadLetterSelection): CarriedConditions | undefined {
  if (where === undefined && text === undefined) return undefined
  return {
    ...(where === undefined ? {} : { where: parseCondition(where) }),
    ...(text === undefined ? {} : { text }),
  }
}

/** How many dead letters a selection has below `end`. Reads what they carry, page by page, where the selection asks for it. */
export async function countSelected(
  db: Queryable,
  selection: DeadLetterSelection,
  end: bigint,
): Promise<bigint> {
  if (carriedConditions(selection) !== undefined) {
    let count = 0
    for await (const ids of selectedPages(db, selection, end)) count += ids.length
    return BigInt(count)
  }
  const values: unknown[] = []
  const pass = (value: unknown): string => `$${values.push(value)}`
  const { rows } = await db.query<{ n: string }>(
    `/* millrace:dead-letter-count */ select count(*)::text as n from millrace.dead_letter d
     where ${selectedSql(selection, pass)} and d.id < ${pass(String(end))}::bigint`,
    values,
  )
  return BigInt(rows[0]?.n ?? 0)
}

/**
 * The numbers of what a selection with {@link carriedConditions} has below `end`, the highest first: a page at a time, at most
 * 500, and maybe none, as a page of payloads has them.
 * @throws E_CONFIG_INVALID
 */
export async function* selectedPages(
  db: Queryable,
  selection: DeadLetterSelection,
  end: bigint,
): AsyncGenerator<bigint[]> {
  const conditions = carriedConditions(selection) ?? {}
  for (let below = end; ; ) {
    const values: unknown[] = []
    const pass = (value: unknown): string => `$${values.push(value)}`
    const condition = `${selectedSql(selection, pass, 'dead_letter')} and dead_letter.id < ${pass(String(below))}::bigint`
    const page = await readPayloads(db, condition, values)
    const last = page.at(-1)
    if (last === undefined) return
    yield page.filter((payload) => fits(payload, conditions) === 'yes').map(({ id }) => id)
    below = last.id
  }
}

/** Which of these carry and say what is asked for. */
export async function fitting(
  db: Queryable,
  ids: readonly bigint[],
  conditions: CarriedConditions,
): Promise<ReadonlySet<bigint>> {
  const found = new Set<bigint>()
  for (let below: string | null = null; ; ) {
    const page = await readPayloads(
      db,
      'dead_letter.id = any ($1::bigint[]) and ($2::bigint is null or dead_letter.id < $2)',
      [plainArray(ids.map(String)), below],
    )
    const last = page.at(-1)
    if (last === undefined) return found
    for (const payload of page) if (fits(payload, conditions) === 'yes') found.add(payload.id)
    below = String(last.id)
  }
}
