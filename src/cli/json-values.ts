/**
 * Parses JSON without rounding: whole numbers that a double cannot hold become their digits as a string, as everywhere
 * on the command line. `undefined` when it is no JSON.
 */
export function parseLossless(text: string): unknown {
  try {
    return JSON.parse(text, exactNumber) as unknown
  } catch {
    return undefined
  }
}

function exactNumber(
  _key: string,
  value: unknown,
  context?: { readonly source?: string },
): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !Number.isInteger(value))
    return value
  return context?.source ?? value
}

/** Bytes for programs: exact as base64, and as text where they are UTF-8. */
export interface ShownBytes {
  readonly base64: string
  readonly text?: string
}

/** `bytes` for programs; `null` stays null. */
export function bytesToJson(bytes: Uint8Array | null): ShownBytes | null {
  if (bytes === null) return null
  const text = textOf(bytes)
  return { base64: Buffer.from(bytes).toString('base64'), ...(text === undefined ? {} : { text }) }
}

/** `bytes` as text if they are UTF-8, else `undefined`. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** `bytes` for people, on one line: text, or the first bytes in hexadecimal. Not yet neutralized. */
export function bytesToText(bytes: Uint8Array | null, limit = 4_000): string {
  if (bytes === null) return '(none)'
  if (bytes.length === 0) return '(empty)'
  const text = textOf(bytes)
  if (text !== undefined)
    return text.length <= limit ? text : `${text.slice(0, limit)}… (${bytes.length} bytes)`
  const head = Buffer.from(bytes.subarray(0, 32))
    .toString('hex')
    .replace(/..(?=.)/g, '$& ')
  return `(${bytes.length} bytes, not text: ${head}${bytes.length > 32 ? ' …' : ''})`
}
