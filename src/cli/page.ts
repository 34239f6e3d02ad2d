import type { Arguments } from './options.ts'
import type { Page } from './output.ts'

const MOST = 1_000
const USUAL = 50

/** How many items to ask for, and how many of them to show: one more tells whether there is another page. */
export function pageLimits(args: Arguments): { readonly shown: number; readonly asked: number } {
  const shown = args.whole('limit', 1, MOST) ?? USUAL
  return { shown, asked: Math.min(MOST, shown + 1) }
}

/** The page to show of what was given, and where the next begins. */
export function toPage<T>(
  given: readonly T[],
  limits: ReturnType<typeof pageLimits>,
  cursor: (item: T) => string,
): Page<T> {
  const items = given.slice(0, limits.shown)
  const last = items.at(-1)
  const full =
    given.length > limits.shown || (limits.asked === limits.shown && given.length === limits.shown)
  return { items, more: full && last !== undefined ? cursor(last) : null }
}
