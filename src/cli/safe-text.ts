import { toJson } from '../core/to-json.ts'
import { safeJsonText } from '../core/safe-json-text.ts'

/**
 * What a terminal would act on, or what hides or reorders text: control, format, surrogate, private-use and unassigned
 * characters, and line and paragraph separators. Also what looks like nothing though it counts as a letter.
 */
const HOSTILE = /[\p{C}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu
/** More than this many marks on one letter are no writing; they would climb over the lines above. */
const MARKS = /(\p{M}{4})\p{M}+/gu
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/**
 * `text` as one line that does nothing to a terminal: whatever is not plainly visible is shown as an escape
 * (`\n`, `\x1b`, `\u202e`).
 */
export function safeLine(text: string): string {
  return text.replace(MARKS, '$1…').replace(HOSTILE, escape)
}

/** The same for text of several lines: line breaks stay, everything else is neutralized. */
export function safeLines(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .split('\n')
    .map((line) => safeLine(line.replaceAll('\t', '  ')))
    .join('\n')
}

/**
 * `value` as JSON that may be shown on a terminal. bigints become strings, dates ISO text. What `JSON.stringify` leaves
 * as it is and a terminal would act on is written as `\uXXXX`, which is the same JSON.
 */
export function safeJson(value: unknown, indent?: number): string {
  return safeJsonText(toJson(value, indent) ?? 'null')
}

/** `text` cut to at most `width` terminal cells, with `…` where something is missing. */
export function fitText(text: string, width: number): string {
  if (textWidth(text) <= width) return text
  if (width <= 1) return width === 1 ? '…' : ''
  let cut = ''
  let used = 0
  for (const character of text) {
    const cells = characterWidth(character)
    if (used + cells > width - 1) break
    cut += character
    used += cells
  }
  return `${cut}…`
}

/** How many terminal cells `text` takes; it must be one line without control characters. */
export function textWidth(text: string): number {
  let cells = 0
  for (const character of text) cells += characterWidth(character)
  return cells
}

const NARROW = /^[\u0020-\u02ff]$/
const MARK = /^\p{M}$/u
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u

function characterWidth(character: string): number {
  if (NARROW.test(character)) return 1
  if (MARK.test(character)) return 0
  return WIDE.test(character) ? 2 : 1
}

function escape(character: string): string {
  const named = NAMED[character]
  if (named !== undefined) return named
  const code = character.codePointAt(0) as number
  if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`
  return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`
}
