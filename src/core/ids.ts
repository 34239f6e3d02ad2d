import type { Clock } from './clock.ts'
import type { Random } from './random.ts'

/** Makes identifiers. */
export interface Ids {
  /**
   * A UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds, then a 12-bit counter that
   * keeps the ids of one process growing within a millisecond (method 1 of section 6.2), then 62 random bits.
   */
  uuid(): string
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const POOL_BYTES = 8 * 256

/** Ids from a clock and a source of chance. */
export function createIds(clock: Clock, random: Random): Ids {
  let lastMs = 0
  let counter = 0
  let pool: Uint8Array = new Uint8Array(0)
  let used = 0

  const hex = (byte: number): string => HEX[byte & 0xff] as string

  return {
    uuid() {
      const nowMs = clock.now().getTime()
      if (nowMs > lastMs) {
        lastMs = nowMs
        counter = 0
      } else {
        // The clock stood still or went back: stay on the last millisecond and count; borrow the next one when full.
        counter += 1
        if (counter > 0xfff) {
          lastMs += 1
          counter = 0
        }
      }
      if (used + 8 > pool.length) {
        pool = random.bytes(POOL_BYTES)
        used = 0
      }
      const at = used
      used += 8
      const high = Math.floor(lastMs / 0x1_0000)
      const low = lastMs % 0x1_0000
      const r = (i: number): number => pool[at + i] as number
      return (
        `${hex(high >>> 24)}${hex(high >>> 16)}${hex(high >>> 8)}${hex(high)}-` +
        `${hex(low >>> 8)}${hex(low)}-` +
        `${hex(0x70 | (counter >>> 8))}${hex(counter)}-` +
        `${hex(0x80 | (r(0) & 0x3f))}${hex(r(1))}-` +
        `${hex(r(2))}${hex(r(3))}${hex(r(4))}${hex(r(5))}${hex(r(6))}${hex(r(7))}`
      )
    },
  }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Whether `text` has the form of a UUID, of any version. */
export function isUuid(text: string): boolean {
  return UUID.test(text)
}
