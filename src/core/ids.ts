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

/** Ids that are made of one draw of chance: so much is cheaper per id than a draw for each. */
const DRAW = 1_024
/** Of the 62 random bits with the two of the variant before them. */
const BYTES = 8
const DIGITS = 2 * BYTES

/** Ids from a clock and a source of chance. */
export function createIds(clock: Clock, random: Random): Ids {
  let lastMs = -1
  let counter = 0
  /** The time and version of `lastMs`, as text. */
  let prefix = ''
  let pool = ''
  let used = 0

  const setTime = (ms: number): void => {
    lastMs = ms
    counter = 0
    const time = ms.toString(16).padStart(12, '0')
    prefix = `${time.slice(0, 8)}-${time.slice(8)}-7`
  }

  return {
    uuid() {
      const nowMs = clock.now().getTime()
      if (nowMs > lastMs) setTime(nowMs)
      else {
        // The clock stood still or went back: stay on the last millisecond and count; borrow the next one when full.
        counter += 1
        if (counter > 0xfff) setTime(lastMs + 1)
      }
      if (used + DIGITS > pool.length) {
        pool = drawDigits(random)
        used = 0
      }
      const at = used
      used += DIGITS
      const count = counter.toString(16).padStart(3, '0')
      return `${prefix}${count}-${pool.slice(at, at + 4)}-${pool.slice(at + 4, at + DIGITS)}`
    },
  }
}

function drawDigits(random: Random): string {
  const bytes = random.bytes(DRAW * BYTES)
  for (let at = 0; at < bytes.length; at += BYTES) bytes[at] = 0x80 | ((bytes[at] ?? 0) & 0x3f)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Whether `text` has the form of a UUID, of any version. */
export function isUuid(text: string): boolean {
  return UUID.test(text)
}
