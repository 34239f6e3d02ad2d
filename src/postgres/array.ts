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
