import type { Queryable } from '../postgres/queryable.ts'
import { FILTER_SQL, filterValues, type DeadLetterFilter } from './filter.ts'

/** No more parked dead letters are counted. */
export const MOST_PARKED = 10_000

/** How many of those that fit are parked, whatever state, page and number the filter asks for; at most 10,000 are counted. */
export async function countParked(
  db: Queryable,
  { state: _state, before: _before, ...filter }: DeadLetterFilter = {},
): Promise<number> {
  const { rows } = await db.query<{ n: number }>(
    `/* millrace:dead-letter-parked */ select count(*)::int as n from (
       select from millrace.dead_letter where state = 'parked' and ${FILTER_SQL} limit ${MOST_PARKED}) p`,
    filterValues(filter),
  )
  return rows[0]?.n ?? 0
}

/** `1 is parked`, `7 are parked`, and why. */
export function parkedWords(parked: number): string {
  const many = parked >= MOST_PARKED ? `${MOST_PARKED} or more are` : `${parked} are`
  return `${parked === 1 ? '1 is' : many} parked, having failed in as many replays as were allowed`
}
