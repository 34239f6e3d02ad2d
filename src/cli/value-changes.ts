import { diff } from 'node:util'
import { bytesToText } from './json-values.ts'
import type { Output } from './output.ts'
import { safeLine } from './safe-text.ts'

/** Written out as it is; TypeScript does not know it yet. */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }

/** A line that goes, comes or stays. */
export type Change = readonly [sign: '+' | '-' | ' ', line: string]

/**
 * What changes in a value, line by line; JSON is compared as it is indented, its numbers as they are written. A change that shows in no
 * such line, as that of a name that is there twice, is shown in the text as it stands, and else by its place in the bytes.
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

function compared(before: readonly string[], after: readonly string[]): Change[] {
  // What is in the first text alone comes first, and is told as 1.
  return diff(before, after).map(
    ([operation, line]): Change => [
      operation === 0 ? ' ' : operation === 1 ? '-' : '+',
      String(line),
    ],
  )
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
