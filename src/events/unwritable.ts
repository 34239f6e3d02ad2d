import type { DataPath } from '../errors/show-path.ts'

/** What `JSON.stringify` refused, and where it is. */
export interface Unwritable {
  readonly path: DataPath
  readonly what: string
}

const VALUES_SEEN = 100_000
const LEVELS_SEEN = 200

/**
 * Finds the bigint or the circle because of which `data` cannot be written as JSON, among its first 100,000 values and
 * 200 levels. `undefined`: something else is the matter.
 */
export function findUnwritable(data: unknown): Unwritable | undefined {
  interface Place {
    readonly value: unknown
    readonly path: DataPath
    readonly within: Ancestors | undefined
  }
  const rest: Place[] = [{ value: data, path: [], within: undefined }]
  let seen = 0
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const { value, path, within } = next
    if (typeof value === 'bigint') return { path, what: 'a bigint' }
    if (typeof value !== 'object' || value === null || path.length === LEVELS_SEEN) continue
    if (holds(within, value)) return { path, what: 'an object that contains itself' }
    // Its own form is what is written, and a Date or a Decimal has nothing to look into.
    if (typeof (value as { toJSON?: unknown }).toJSON === 'function') continue
    const ancestors = { value, outer: within }
    for (const [name, inner] of Object.entries(value)) {
      seen += 1
      if (seen > VALUES_SEEN) return undefined
      const segment = Array.isArray(value) ? Number(name) : name
      rest.push({ value: inner, path: [...path, segment], within: ancestors })
    }
  }
  return undefined
}

interface Ancestors {
  readonly value: object
  readonly outer: Ancestors | undefined
}

function holds(ancestors: Ancestors | undefined, value: object): boolean {
  for (let at = ancestors; at !== undefined; at = at.outer) if (at.value === value) return true
  return false
}
