import type { Clock } from '../core/clock.ts'
import { usage } from './errors.ts'
import { parseTime, type Arguments } from './options.ts'

/** A place in every partition of a topic. */
export type Place = 'beginning' | 'end' | { readonly time: Date } | { readonly offset: bigint }

/**
 * The place that an option names.
 * @throws E_CLI_USAGE when it is none.
 */
export function placeOf(args: Arguments, name: string, clock: Clock): Place | undefined {
  const text = args.text(name)
  if (text === undefined || text === 'beginning' || text === 'end') return text
  const offset = parseOffset(text)
  if (offset !== undefined) return { offset }
  const time = parseTime(text, clock)
  if (time === undefined)
    throw usage(
      `--${name}: expected beginning, end, a time as 15m or ISO 8601, or an offset; got '${text}'`,
    )
  return { time }
}

/** `text` as an offset, or `undefined` if it is none. */
export function parseOffset(text: string): bigint | undefined {
  return /^\d{1,18}$/.test(text) ? BigInt(text) : undefined
}
