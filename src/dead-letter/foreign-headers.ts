import type { Header } from '../events/raw-record.ts'

/** Names of the dead-letter headers of three programs. */
export const SPRING = {
  topic: 'kafka_dlt-original-topic',
  partition: 'kafka_dlt-original-partition',
  offset: 'kafka_dlt-original-offset',
  timestamp: 'kafka_dlt-original-timestamp',
  group: 'kafka_dlt-original-consumer-group',
  class: 'kafka_dlt-exception-fqcn',
  cause: 'kafka_dlt-exception-cause-fqcn',
  message: 'kafka_dlt-exception-message',
  stack: 'kafka_dlt-exception-stacktrace',
  attempts: 'kafka_deliveryAttempt',
  retryAttempts: 'retry_topic-attempts',
} as const

export const CONNECT = {
  topic: '__connect.errors.topic',
  partition: '__connect.errors.partition',
  offset: '__connect.errors.offset',
  stage: '__connect.errors.stage',
  class: '__connect.errors.exception.class.name',
  message: '__connect.errors.exception.message',
  stack: '__connect.errors.exception.stacktrace',
} as const

export const KARAFKA = {
  topic: 'source_topic',
  partition: 'source_partition',
  offset: 'source_offset',
  group: 'source_consumer_group',
  attempts: 'source_attempts',
} as const

const NAMES: ReadonlySet<string> = new Set([SPRING, CONNECT, KARAFKA].flatMap(Object.values))
const GREATEST_INT = 2_147_483_647
const GREATEST_LONG = 9_223_372_036_854_775_807n

/**
 * The headers that tell of a failure, read by name. Where a name repeats, the record was set aside more than once: it comes
 * from where the first says, and failed last as the last says. Whatever cannot be read is as if it were not there.
 */
export class ForeignHeaders {
  readonly #first = new Map<string, Uint8Array>()
  readonly #last = new Map<string, Uint8Array>()
  readonly #places = new Map<string, number>()

  constructor(headers: readonly Header[]) {
    for (const [place, [name, value]] of headers.entries()) {
      if (value === null || !NAMES.has(name)) continue
      this.#places.set(name, place)
      if (!this.#first.has(name)) this.#first.set(name, value)
      this.#last.set(name, value)
    }
  }

  /** Where the last header of these names stands among all; −1: there is none. */
  lastOf(names: Readonly<Record<string, string>>): number {
    return Math.max(...Object.values(names).map((name) => this.#places.get(name) ?? -1))
  }

  /** The last of the name as text that Postgres takes, cut at `limit`; empty counts as none. */
  text(name: string, limit: number): string | undefined {
    return textOf(this.#last.get(name), limit)
  }

  /** The first of the name, as {@link ForeignHeaders.text}. */
  firstText(name: string, limit: number): string | undefined {
    return textOf(this.#first.get(name), limit)
  }

  /** The first of the name as a whole number: Spring's four bytes, the greatest first, or digits. From 0 on. */
  int(name: string): number | undefined {
    const value = wholeOf(this.#first.get(name))
    return value === undefined || value > GREATEST_INT ? undefined : Number(value)
  }

  /** The last of the name, as {@link ForeignHeaders.int}. */
  lastInt(name: string): number | undefined {
    const value = wholeOf(this.#last.get(name))
    return value === undefined || value > GREATEST_INT ? undefined : Number(value)
  }

  /** As {@link ForeignHeaders.int}, of eight bytes. */
  long(name: string): bigint | undefined {
    return wholeOf(this.#first.get(name))
  }
}

function textOf(bytes: Uint8Array | undefined, limit: number): string | undefined {
  if (bytes === undefined) return undefined
  // No more is decoded than could be kept: a character has four bytes at most.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 4 * limit))
    .toString('utf8')
    .slice(0, limit)
    .toWellFormed()
    .replaceAll('\u0000', '\\u0000')
  return text === '' ? undefined : text
}

/** Digits first: four or eight of them could be taken for an integer's bytes, which no offset of a real topic reaches. */
function wholeOf(bytes: Uint8Array | undefined): bigint | undefined {
  if (bytes === undefined || bytes.byteLength === 0 || bytes.byteLength > 20) return undefined
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const text = buffer.toString('latin1')
  const value = /^\d{1,19}$/.test(text) ? BigInt(text) : integerOf(buffer)
  return value === undefined || value < 0n || value > GREATEST_LONG ? undefined : value
}

function integerOf(buffer: Buffer): bigint | undefined {
  switch (buffer.byteLength) {
    case 1:
      return BigInt(buffer.readInt8())
    case 4:
      return BigInt(buffer.readInt32BE())
    case 8:
      return buffer.readBigInt64BE()
    default:
      return undefined
  }
}
