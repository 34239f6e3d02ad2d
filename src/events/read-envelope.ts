import {
  HEADER,
  type HeaderName,
  type HeaderValues,
  isEnvelopeText,
  isTraceparent,
  MAX_ID_LENGTH,
  parseTime,
} from './envelope.ts'
import { isUnstorable } from './json-text.ts'
import type { PlacedRecord } from './raw-record.ts'

/** What the headers say about an event: everything that is there and can be read. */
export interface Envelope {
  readonly id?: string
  readonly source?: string
  readonly time?: Date
  readonly version?: number
  readonly correlationId?: string
  readonly causationId?: string
  readonly traceparent?: string
}

/** An envelope in which nothing that an event needs is missing. */
export type CompleteEnvelope = Envelope &
  Required<Pick<Envelope, 'id' | 'source' | 'time' | 'version'>>

/** What {@link readEnvelope} found. */
export type EnvelopeReading =
  | { readonly envelope: CompleteEnvelope; readonly problem?: never }
  /** `problem`: the first thing that is missing or broken. */
  | { readonly envelope: Envelope; readonly problem: string }

const TEXT_EXPECTED = `expected UTF-8 text of 1 to ${MAX_ID_LENGTH} characters without control characters`
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/**
 * Reads the envelope of CloudEvents 1.0. Id and source must be there; a missing version is 1, a missing time is the
 * record's. Whatever is there must be readable, but for a trace context, which is ignored when it is not valid.
 */
export function readEnvelope(headers: HeaderValues, record: PlacedRecord): EnvelopeReading {
  const problems: string[] = []
  const text = (name: HeaderName, needed: boolean): string | undefined => {
    const bytes = headers[name]
    const value = bytes === undefined ? undefined : readText(bytes)
    if (value !== undefined) return value
    if (bytes !== undefined) problems.push(`header ${name}: ${TEXT_EXPECTED}`)
    else if (needed) problems.push(`header ${name} is missing`)
    return undefined
  }
  const id = text(HEADER.id, true)
  const source = text(HEADER.source, true)
  const correlationId = text(HEADER.correlationId, false)
  const causationId = text(HEADER.causationId, false)

  let time: Date | undefined = record.timestamp
  const timeText = text(HEADER.time, false)
  if (headers[HEADER.time] !== undefined) {
    time = timeText === undefined ? undefined : parseTime(timeText)
    if (timeText !== undefined && time === undefined) {
      problems.push(
        `header ${HEADER.time}: expected a time as in RFC 3339 (2026-11-22T20:15:00.000Z)`,
      )
    }
  }

  let version: number | undefined = 1
  const versionText = text(HEADER.dataVersion, false)
  if (headers[HEADER.dataVersion] !== undefined) {
    version =
      versionText !== undefined && /^[1-9]\d{0,8}$/.test(versionText)
        ? Number(versionText)
        : undefined
    if (versionText !== undefined && version === undefined) {
      problems.push(`header ${HEADER.dataVersion}: expected a whole number from 1`)
    }
  }

  const specVersion = text(HEADER.specVersion, false)
  if (specVersion !== undefined && !/^1\.\d+$/.test(specVersion)) {
    problems.push(`header ${HEADER.specVersion}: expected 1.0`)
  }
  const contentType = text(HEADER.contentType, false)
  if (contentType !== undefined && !JSON_TYPE.test(contentType)) {
    problems.push(`header ${HEADER.contentType}: expected application/json`)
  }

  const traceBytes = headers[HEADER.traceparent]
  const trace = traceBytes === undefined ? undefined : readText(traceBytes)
  const rest = {
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(causationId === undefined ? {} : { causationId }),
    ...(trace !== undefined && isTraceparent(trace) ? { traceparent: trace } : {}),
  }
  const problem = problems[0]
  if (
    problem === undefined &&
    id !== undefined &&
    source !== undefined &&
    time !== undefined &&
    version !== undefined
  ) {
    return { envelope: { id, source, time, version, ...rest } }
  }
  return {
    problem: problem ?? 'the envelope is incomplete',
    envelope: {
      ...(id === undefined ? {} : { id }),
      ...(source === undefined ? {} : { source }),
      ...(time === undefined ? {} : { time }),
      ...(version === undefined ? {} : { version }),
      ...rest,
    },
  }
}

// Kept whole: a byte order mark is a character like any other, and has no place in JSON.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** `bytes` as text, if they are UTF-8. A byte order mark is kept. */
export function readUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    // Not UTF-8: that is the answer.
    return undefined
  }
}

/** The value of an envelope's header, if it may be one. */
export function readText(bytes: Uint8Array | null): string | undefined {
  // A character is four bytes at most: more cannot be short enough.
  if (bytes === null || bytes.length > MAX_ID_LENGTH * 4) return undefined
  const text = readUtf8(bytes)
  return text !== undefined && isEnvelopeText(text) ? text : undefined
}

/** A record's key as text; see `ReceivedEvent.key`. */
export function keyText(key: Uint8Array | null): string | null {
  if (key === null) return null
  const text = readUtf8(key)
  return text === undefined || isUnstorable(text)
    ? `base64:${Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('base64')}`
    : text
}
