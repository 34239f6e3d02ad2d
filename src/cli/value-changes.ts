import { diff } from 'node:util'
import { bytesToText } from './json-values.ts'
import type { Output } from './output.ts'
import { safeLine } from './safe-text.ts'

/** Written out as it is; TypeScript does not know it yet. */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }

/** A line that goes, comes or stays. */
export type Change = readonly [sign: '+' | '-' | ' ', line: string]

/**
 * What changes in a value, line by line; JSON is compared as it is indented, its numbers as they are written. A change that
 * shows in no such line, as that of a name that is there twice, is shown in the text as it stands, and else by its place in
 * the bytes.
 */
export function changesOf(before: Uint8Array | null, after: Uint8Array): Change[] {
  const texts = [before, after].map((bytes) => bytesToText(bytes, Number.MAX_SAFE_INTEGER))
  const [old = '', changedTo = ''] = texts
  for (const linesOf of [indented, raw]) {
    const changes = compared(linesOf(old), linesOf(changedTo))
    if (changes.some(([sign]) => sign !== ' ')) return changes
  }
  if (before === null || Buffer.compare(before, after) === 0)
    return compared(indented(old), indented(old))
  const place = before.findIndex((byte, at) => byte !== after[at])
  const from = place < 0 ? before.length : place
  const shown = (bytes: Uint8Array): string =>
    `from byte ${from}: ${Buffer.from(bytes.subarray(from, from + 32)).toString('hex') || 'nothing'}`
  return [
    ['-', shown(before)],
    ['+', shown(after)],
  ]
}

/** Lines that are compared one by one at most: what that takes grows with the square of them. */
const MOST_COMPARED = 2_000

function compared(before: readonly string[], after: readonly string[]): Change[] {
  const most = Math.min(before.length, after.length)
  let first = 0
  while (first < most && before[first] === after[first]) first += 1
  let last = 0
  while (last < most - first && before.at(-1 - last) === after.at(-1 - last)) last += 1
  const old = before.slice(first, before.length - last)
  const now = after.slice(first, after.length - last)
  const all = (sign: Change[0], lines: readonly string[]): Change[] =>
    lines.map((line): Change => [sign, line])
  const between =
    old.length === 0 || now.length === 0 || old.length + now.length > MOST_COMPARED
      ? [...all('-', old), ...all('+', now)]
      : // What is in the first text alone comes first, and is told as 1.
        diff(old, now).map(
          ([operation, line]): Change => [
            operation === 0 ? ' ' : operation === 1 ? '-' : '+',
            String(line),
          ],
        )
  return [
    ...all(' ', before.slice(0, first)),
    ...between,
    ...all(' ', before.slice(before.length - last)),
  ]
}

function raw(text: string): string[] {
  return text.split('\n')
}

/** JSON with a line per value, what is none as it is. */
function indented(text: string): string[] {
  try {
    return JSON.stringify(JSON.parse(text, asWritten), null, 2).split('\n')
  } catch {
    return raw(text)
  }
}

/** No number is rounded on its way to the terminal. */
function asWritten(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === 'number' && context?.source !== undefined
    ? rawJSON(context.source)
    : value
}

/** Shows them in colours. */
export function showChanges(out: Output, changes: readonly Change[]): void {
  for (const [sign, line] of changes) {
    const color = sign === '+' ? 'green' : sign === '-' ? 'red' : 'dim'
    out.styled(out.style(color, `${sign} ${safeLine(line)}`))
  }
}
