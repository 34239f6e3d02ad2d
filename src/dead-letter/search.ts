import { throwIfAborted } from '../core/abort.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { FILTER_SQL, filterValues, type DeadLetterFilter } from './filter.ts'
import { readJsonText, readPayloads, readUtf8, type Payload } from './payload.ts'
import { valuesAt, type PayloadCondition } from './payload-path.ts'
import { storedError } from './stored-error.ts'

/** What to search dead letters for. All given conditions hold at once. */
export interface DeadLetterSearch extends DeadLetterFilter {
  /** What the record or the job must carry. */
  readonly where?: PayloadCondition
  /** A part of the error's class, code or message, or of one of its causes'; upper and lower case are the same. */
  readonly text?: string
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
  const text = search.text?.toLowerCase()
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
      if (text !== undefined && !tells(payload, text)) continue
      if (search.where !== undefined) {
        const found = carries(payload, search.where)
        if (found === 'not-json') tally.notJson += 1
        if (found === 'too-large') tally.tooLarge += 1
        if (found !== 'yes') continue
      }
      ids.push(payload.id)
    }
  }
}

function tells({ error }: Payload, text: string): boolean {
  const { causes = [], ...own } = storedError(error)
  return [own, ...causes].some(
    ({ class: name, code, message }) =>
      name.toLowerCase().includes(text) ||
      message.toLowerCase().includes(text) ||
      code?.toLowerCase().includes(text) === true,
  )
}

type Found = 'yes' | 'no' | 'not-json' | 'too-large'

function carries(payload: Payload, { path, operator, value }: PayloadCondition): Found {
  const fits = (values: Iterable<unknown>): Found => {
    for (const one of values) {
      if (operator === 'present') return 'yes'
      // A list or an object is nothing that a text could equal.
      if (typeof one === 'object' && one !== null) continue
      if ((String(one) === value) === (operator === '=')) return 'yes'
    }
    return 'no'
  }
  switch (path.root) {
    case 'header': {
      const values = payload.headers.filter(([name]) => name === path.name)
      return fits(values.flatMap(([, bytes]) => readUtf8(bytes) ?? []))
    }
    case 'key':
      return fits([readUtf8(payload.key) ?? []].flat())
    case 'data':
    case 'args': {
      if (payload.tooLarge) return 'too-large'
      const text = path.root === 'args' ? payload.argsJson : (readUtf8(payload.value) ?? null)
      const data = text === null ? undefined : readJsonText(text)
      return data === undefined ? 'not-json' : fits(valuesAt(data, path.steps))
    }
  }
}
