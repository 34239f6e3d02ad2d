import { hash } from 'node:crypto'

/** A UUID version 8 (RFC 9562, section 5.8 and appendix B.2) of the SHA-256 of `name`: the same for the same name. */
export function uuidOfName(name: string): string {
  const bytes = hash('sha256', name, 'buffer')
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  const hex = bytes.toString('hex', 0, 16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
