import type { Header } from '../events/raw-record.ts'

/** What Spring Kafka's `DeadLetterPublishingRecoverer` writes. */
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
  keyClass: 'kafka_dlt-key-exception-fqcn',
  keyMessage: 'kafka_dlt-key-exception-message',
  keyStack: 'kafka_dlt-key-exception-stacktrace',
} as const

/** The same as `@RetryableTopic` names it. The group keeps Spring's other name. */
export const SPRING_RETRY = {
  topic: 'kafka_original-topic',
  partition: 'kafka_original-partition',
  offset: 'kafka_original-offset',
  timestamp: 'kafka_original-timestamp',
  class: 'kafka_exception-fqcn',
  cause: 'kafka_exception-cause-fqcn',
  message: 'kafka_exception-message',
  stack: 'kafka_exception-stacktrace',
  keyClass: 'kafka_key-exception-fqcn',
  keyMessage: 'kafka_key-exception-message',
  keyStack: 'kafka_key-exception-stacktrace',
} as const

/** The same as Spring Cloud Stream's binder for Kafka names it. */
export const SPRING_CLOUD = {
  topic: 'x-original-topic',
  partition: 'x-original-partition',
  offset: 'x-original-offset',
  timestamp: 'x-original-timestamp',
  class: 'x-exception-fqcn',
  message: 'x-exception-message',
  stack: 'x-exception-stacktrace',
} as const

/** How often Spring tried, under whichever names the rest is: at the container, and over retry topics. */
export const SPRING_ATTEMPTS = {
  delivery: 'kafka_deliveryAttempt',
  retryTopic: 'retry_topic-attempts',
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
  traceId: 'source_trace_id',
} as const

/** Karafka before 2.5. */
export const KARAFKA_BEFORE_2_5 = {
  topic: 'original_topic',
  partition: 'original_partition',
  offset: 'original_offset',
  group: 'original_consumer_group',
  attempts: 'original_attempts',
  traceId: 'original_trace_id',
} as const

/** The headers of a program that is none of these, by name. What is not given is not looked for. */
export interface DeadLetterHeaders {
  /** The topic that the record failed in. With `partition` and `offset` it is the origin: all three, or none. */
  readonly topic?: string
  /** Its partition, as all numbers here: digits, or bytes as Java writes them, the greatest first. */
  readonly partition?: string
  /** Its offset. */
  readonly offset?: string
  /** When the record was made: milliseconds since 1970, or a text such as `2026-11-01T00:00:00Z`. */
  readonly timestamp?: string
  /** How often it was tried. */
  readonly attempts?: string
  /** The error's class. */
  readonly class?: string
  /** The class of what caused the error. */
  readonly cause?: string
  /** The error's message. */
  readonly message?: string
  /** The error's stack. */
  readonly stack?: string
}

const NAMES: ReadonlySet<string> = new Set(
  [
    SPRING,
    SPRING_RETRY,
    SPRING_CLOUD,
    SPRING_ATTEMPTS,
    CONNECT,
    KARAFKA,
    KARAFKA_BEFORE_2_5,
  ].flatMap((names): string[] => Object.values(names)),
)
/** The last that a date may be, and be a text that Postgres reads: the end of the year 9999. */
const LAST_MS = 253_402_300_799_999
const ISO_TIME = /^\d{4}-\d{2}-\d{2}T/
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

  /** @param own more names than those that are known here. */
  constructor(headers: readonly Header[], own: DeadLetterHeaders = {}) {
    const others: readonly string[] = Object.values(own)
    for (const [place, [name, value]] of headers.entries()) {
      if (value === null || !(NAMES.has(name) || others.includes(name))) continue
      this.#places.set(name, place)
      if (!this.#first.has(name)) this.#first.set(name, value)
      this.#last.set(name, value)
    }
  }

  /** Where the last header of these names stands among all; −1: there is none. */
  lastOf(names: object): number {
    const places = Object.values(names).map((name: string) => this.#places.get(name) ?? -1)
    return Math.max(-1, ...places)
  }

  /** When something was: milliseconds since 1970, or a text of ISO 8601, in the first of the name. Until the year 9999. */
  time(name: string | undefined): Date | undefined {
    const text = this.firstText(name, 40) ?? ''
    const ms = ISO_TIME.test(text) ? Date.parse(text) : Number(this.long(name) ?? Number.NaN)
    return ms >= 0 && ms <= LAST_MS ? new Date(ms) : undefined
  }

  /** The last of the name as text that Postgres takes, cut at `limit`; empty counts as none. */
  text(name: string | undefined, limit: number): string | undefined {
    return textOf(this.#last.get(name ?? ''), limit)
  }

  /** The first of the name, as {@link ForeignHeaders.text}. */
  firstText(name: string | undefined, limit: number): string | undefined {
    return textOf(this.#first.get(name ?? ''), limit)
  }

  /** The first of the name as a whole number: Spring's four bytes, the greatest first, or digits. From 0 on. */
  int(name: string | undefined): number | undefined {
    const value = wholeOf(this.#first.get(name ?? ''))
    return value === undefined || value > GREATEST_INT ? undefined : Number(value)
  }

  /** The last of the name, as {@link ForeignHeaders.int}. */
  lastInt(name: string | undefined): number | undefined {
    const value = wholeOf(this.#last.get(name ?? ''))
    return value === undefined || value > GREATEST_INT ? undefined : Number(value)
  }

  /** As {@link ForeignHeaders.int}, of eight bytes. */
  long(name: string | undefined): bigint | undefined {
    return wholeOf(this.#first.get(name ?? ''))
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
