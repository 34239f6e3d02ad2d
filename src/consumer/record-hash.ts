import { createHash } from 'node:crypto'
import type { LogRecord } from '../log/port.ts'

/** SHA-256 over what identifies a record's content: shows later whether the log is still the same. */
export function hashOf(record: Pick<LogRecord, 'key' | 'value'>): Uint8Array {
  const hash = createHash('sha256')
  for (const part of [record.key, record.value]) {
    hash.update(part === null ? '-' : `${part.byteLength}:`)
    if (part !== null) hash.update(part)
  }
  return hash.digest()
}
