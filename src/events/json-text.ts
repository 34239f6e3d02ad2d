import type { DataPath } from '../errors/show-path.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/**
 * Whether the JSON in `bytes` nests deeper than `maxDepth`. Looks at brackets outside of strings only, before anything is
 * parsed, so it is right for JSON and terminates for everything else.
 */
export function isDeeperThan(bytes: Uint8Array, maxDepth: number): boolean {
  // Every level needs a bracket of its own.
  if (bytes.length <= maxDepth) return false
  let depth = 0
  for (let at = 0; at < bytes.length; at += 1) {
    switch (bytes[at]) {
      case QUOTE:
        at += 1
        while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
        break
      case OPEN_ARRAY:
      case OPEN_OBJECT:
        depth += 1
        if (depth > maxDepth) return true
        break
      case CLOSE_ARRAY:
      case CLOSE_OBJECT:
        depth -= 1
        break
      default:
    }
  }
  return false
}

/** Escapes that may stand for U+0000 or half of a surrogate pair. A false alarm only costs the walk. */
const SUSPICIOUS = /\\u(?:0000|d[89a-f])/i

/**
 * Where `data`, parsed from `text`, has a string or a property name that is no text for everybody: with U+0000, which
 * Postgres refuses, or with a lone surrogate, which UTF-8 cannot hold. `undefined`: nowhere.
 */
export function findUnstorableText(text: string, data: unknown): DataPath | undefined {
  if (!SUSPICIOUS.test(text)) return undefined
  // A list instead of recursion: the data decides how deep this goes.
  const rest: { readonly value: unknown; readonly path: DataPath }[] = [{ value: data, path: [] }]
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const { value, path } = next
    if (typeof value === 'string') {
      if (isUnstorable(value)) return path
    } else if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) {
        if (mayHoldText(item)) rest.push({ value: item, path: [...path, index] })
      }
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, item] of Object.entries(value)) {
        if (isUnstorable(name)) return [...path, name]
        if (mayHoldText(item)) rest.push({ value: item, path: [...path, name] })
      }
    }
  }
  return undefined
}

function mayHoldText(value: unknown): boolean {
  return typeof value === 'string' || (typeof value === 'object' && value !== null)
}

/** Whether `text` has U+0000 or a lone surrogate. */
export function isUnstorable(text: string): boolean {
  return text.includes('\u0000') || !text.isWellFormed()
}

/**
 * What is wrong with a text that `JSON.parse` refused, without a word of the text itself: the engine's own message
 * quotes it.
 */
export function describeSyntaxError(error: unknown, text: string): string {
  if (text.startsWith('\uFEFF')) return 'it begins with a byte order mark'
  const message = error instanceof Error ? error.message : ''
  if (text.trim() === '') return 'it is blank'
  if (/unexpected end|unterminated string/i.test(message)) {
    return `it ends in the middle, after ${text.length} characters`
  }
  const position = /at position (\d+)/.exec(message)?.[1]
  return position === undefined
    ? 'a character is not where JSON allows it'
    : `the character at position ${position} (of ${text.length}) is not where JSON allows it`
}
