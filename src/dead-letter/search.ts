import { throwIfAborted } from '../core/abort.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { fits, type CarriedConditions } from './carried.ts'
import { FILTER_SQL, filterValues, type DeadLetterFilter } from './filter.ts'
import { readPayloads } from './payload.ts'

/** What to search dead letters for. All given conditions hold at once. */
export interface DeadLetterSearch extends DeadLetterFilter, CarriedConditions {
  /** How many to look at before giving up. Default 100,000. Bounds 1 … 10,000,000. */
  readonly look?: number
}

/** What a search found by looking, newest first. */
export interface SearchOutcome {
  readonly ids: readonly bigint[]
  /** Dead letters that were looked at. */
  readonly looked: number
  /** Of these, how many carry nothing that is JSON where JSON was asked for; they do not match. */
  readonly notJson: number
  /** Of these, how many carry more than 1 MiB, and were not looked into; they do not match. */
  readonly tooLarge: number
  /** Where to go on: those with a lower number were not looked at. Null: there are none. */
  readonly before: bigint | null
}

/**
 * Looks at dead letters page by page, newest first, until `limit` match or `look` were looked at.
 * @throws the signal's reason when it is aborted between two pages.
 */
export async function findDeadLetters(
  db: Queryable,
  search: DeadLetterSearch,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<SearchOutcome> {
  const limit = Math.min(1_000, Math.max(1, search.limit ?? 50))
  const most = Math.min(10_000_000, Math.max(1, search.look ?? 100_000))
  const ids: bigint[] = []
  const tally = { looked: 0, notJson: 0, tooLarge: 0 }
  let before = search.before
  for (;;) {
    throwIfAborted(signal)
    const filter = before === undefined ? search : { ...search, before }
    const page = await readPayloads(db, FILTER_SQL, filterValues(filter))
    if (page.length === 0) return { ids, ...tally, before: null }
    for (const payload of page) {
      if (ids.length === limit || tally.looked === most)
        return { ids, ...tally, before: before ?? null }
      tally.looked += 1
      before = payload.id
      const found = fits(payload, search)
      if (found === 'not-json') tally.notJson += 1
      if (found === 'too-large') tally.tooLarge += 1
      if (found !== 'yes') continue
      ids.push(payload.id)
    }
  }
}
