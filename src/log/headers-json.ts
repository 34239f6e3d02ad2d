import { isUtf8 } from 'node:buffer'
import type { Header } from '../events/raw-record.ts'

type HeaderValueJson = string | null | { readonly base64: string }

/**
 * Headers as the JSON text that the table log keeps: `[[name, value], …]`, in order, repetitions kept, a value being a
 * string, `null`, or `{"base64": …}` when its bytes are not UTF-8. Lossless. `null` for no headers.
 */
export function headersToJson(headers: readonly Header[]): string | null {
  if (headers.length === 0) return null
  return JSON.stringify(headers.map(([name, value]) => [name, valueToJson(value)]))
}

/** The headers that {@link headersToJson} wrote. */
export function headersFromJson(json: string | null): Header[] {
  if (json === null) return []
  return (JSON.parse(json) as [string, HeaderValueJson][]).map(([name, value]) => [
    name,
    valueFromJson(value),
  ])
}

function valueToJson(value: Uint8Array | null): HeaderValueJson {
  if (value === null) return null
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  return isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') }
}

function valueFromJson(value: HeaderValueJson): Uint8Array | null {
  if (value === null) return null
  return typeof value === 'string'
    ? Buffer.from(value, 'utf8')
    : Buffer.from(value.base64, 'base64')
}
