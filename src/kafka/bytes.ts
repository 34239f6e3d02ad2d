/** What was being read ends too early, or says something impossible of itself. */
export class BrokenBytes extends Error {
  override readonly name = 'BrokenBytes'
}

/** Reads the numbers of Kafka's record format from one contiguous buffer. */
export class ByteReader {
  readonly bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  /** A signed number of up to 32 bits, zigzag in groups of seven bits. */
  varint(): number {
    const { bytes } = this
    let byte = bytes[this.at++]
    // Nearly all lengths and deltas of records are short.
    if (byte !== undefined && byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
    let value = 0
    let shift = 0
    for (;;) {
      if (byte === undefined || shift > 28) throw new BrokenBytes('a number that does not end')
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
      shift += 7
      byte = bytes[this.at++]
    }
  }

  /** As {@link varint}, of up to 64 bits; beyond 53 it is only about right. */
  varlong(): number {
    const { bytes } = this
    let value = 0
    let factor = 1
    for (let groups = 0; groups < 10; groups += 1) {
      const byte = bytes[this.at++]
      if (byte === undefined) break
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
      factor *= 128
    }
    throw new BrokenBytes('a number that does not end')
  }

  /** The next `length` bytes, as a view; `null` when `length` is −1. */
  view(length: number): Buffer | null {
    if (length === -1) return null
    const { at } = this
    const end = at + length
    if (length < 0 || end > this.bytes.length) throw new BrokenBytes('a length beyond the end')
    this.at = end
    return this.bytes.subarray(at, end)
  }

  /** The next `length` bytes as UTF-8. */
  text(length: number): string {
    const { at } = this
    const end = at + length
    if (length < 0 || end > this.bytes.length) throw new BrokenBytes('a length beyond the end')
    this.at = end
    return this.bytes.toString('utf8', at, end)
  }
}

/** How many bytes {@link writeVarint} takes for `value`. */
export function varintSize(value: number): number {
  let rest = value < 0 ? -2 * value - 1 : 2 * value
  let size = 1
  while (rest >= 0x80) {
    rest = Math.floor(rest / 0x80)
    size += 1
  }
  return size
}

/** Writes a signed whole number, zigzag in groups of seven bits, and gives the position behind it. */
export function writeVarint(into: Buffer, at: number, value: number): number {
  let rest = value < 0 ? -2 * value - 1 : 2 * value
  let position = at
  while (rest >= 0x80) {
    into[position++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  into[position++] = rest
  return position
}
