/** A Postgres array literal of values that need no quoting: UUIDs, whole numbers. Cheaper than the driver's own. */
export function plainArray(values: Iterable<string | number | bigint>): string {
  return `{${Array.isArray(values) ? values.join(',') : [...values].join(',')}}`
}

/** A Postgres array literal of texts. `null` stays null. */
export function textArray(values: Iterable<string | null>): string {
  let literal = '{'
  let first = true
  for (const value of values) {
    literal += first ? '' : ','
    first = false
    literal += value === null ? 'NULL' : quote(value)
  }
  return `${literal}}`
}

const SPECIAL = /["\\]/g

function quote(value: string): string {
  return `"${value.includes('"') || value.includes('\\') ? value.replace(SPECIAL, '\\$&') : value}"`
}

/** A Postgres array literal of bytes. `null` stays null. */
export function byteaArray(values: Iterable<Uint8Array | null>): string {
  const parts: string[] = []
  for (const value of values) {
    parts.push(value === null ? 'NULL' : `"\\\\x${hexOf(value)}"`)
  }
  return `{${parts.join(',')}}`
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

/** Of the binary form of `uuid[]`: dimensions, whether there are nulls, type, number of elements, lower bound. */
const HEAD_BYTES = 20
const UUID_OID = 2950
const UUID_BYTES = 16
const UUID_LENGTH = 36

/**
 * An array of UUIDs that were made here, in the server's binary form: for both sides together 1 µs an id cheaper than
 * text. What is not a UUID is not noticed.
 */
export function uuidArray(ids: readonly string[]): Buffer {
  const array = Buffer.alloc(HEAD_BYTES + ids.length * (4 + UUID_BYTES))
  array.writeInt32BE(1, 0)
  array.writeInt32BE(UUID_OID, 8)
  array.writeInt32BE(ids.length, 12)
  array.writeInt32BE(1, 16)
  let to = HEAD_BYTES
  for (const id of ids) {
    array[to + 3] = UUID_BYTES
    to += 4
    for (let at = 0; at < UUID_LENGTH; at += 2) {
      if (id.charCodeAt(at) === DASH) at += 1
      array[to] = (digit(id.charCodeAt(at)) << 4) | digit(id.charCodeAt(at + 1))
      to += 1
    }
  }
  return array
}

const DASH = 0x2d

/** The value of a hexadecimal digit, given its character code. */
function digit(code: number): number {
  return code > 0x39 ? (code & 0xf) + 9 : code & 0xf
}
