import type { Header } from './raw-record.ts'

/** Names of the headers of CloudEvents 1.0 in Kafka's binary mode, with our extensions. */
export const HEADER = {
  specVersion: 'ce_specversion',
  id: 'ce_id',
  type: 'ce_type',
  source: 'ce_source',
  time: 'ce_time',
  contentType: 'content-type',
  /** Version of the data, as its publisher's definition counts it. */
  dataVersion: 'ce_dataversion',
  correlationId: 'ce_correlationid',
  causationId: 'ce_causationid',
  /** Where the record of the causing event stands, if its id is in none of its headers: `topic/partition/offset`. */
  causationRecord: 'ce_causationrecord',
  traceparent: 'traceparent',
} as const

/** One of the names of {@link HEADER}. */
export type HeaderName = (typeof HEADER)[keyof typeof HEADER]

/** Values of the headers that millrace reads, as bytes: the first of each name. */
export type HeaderValues = Readonly<Partial<Record<HeaderName, Uint8Array | null>>>

const NAMES: ReadonlySet<string> = new Set(Object.values(HEADER))

/** Picks the headers that millrace reads. Of headers with one name the first counts. */
export function pickHeaders(headers: readonly Header[]): HeaderValues {
  const values: Partial<Record<string, Uint8Array | null>> = {}
  for (const [name, value] of headers) {
    if (NAMES.has(name) && values[name] === undefined) values[name] = value
  }
  return values
}

/** Longest id, in UTF-16 code units. */
export const MAX_ID_LENGTH = 500

const FORBIDDEN = /\p{Cc}/u

/** Whether `text` may be an id or a source: a CloudEvents string that is not empty and has at most 500 characters. */
export function isEnvelopeText(text: string): boolean {
  return (
    text.length > 0 && text.length <= MAX_ID_LENGTH && !FORBIDDEN.test(text) && text.isWellFormed()
  )
}

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/

/** Whether `text` is a W3C trace context. One that is not is ignored, as the recommendation demands. */
export function isTraceparent(text: string): boolean {
  return (
    TRACEPARENT.test(text) && (text.length === 55 || (text[55] === '-' && !text.startsWith('00')))
  )
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/

/** `text` as an instant, to the millisecond, if it is an RFC 3339 time stamp. */
export function parseTime(text: string): Date | undefined {
  if (!RFC3339.test(text)) return undefined
  const ms = Date.parse(text.toUpperCase())
  return Number.isNaN(ms) ? undefined : new Date(ms)
}
