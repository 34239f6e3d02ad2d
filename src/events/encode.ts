import { isThenable } from '../core/thenable.ts'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { HEADER, isEnvelopeText, isTraceparent, MAX_ID_LENGTH } from './envelope.ts'
import type { EventDefinition } from './event.ts'
import { showPath } from '../errors/show-path.ts'
import { findUnstorableText, isDeeperThan, isUnstorable } from './json-text.ts'
import { DEFAULT_MAX_DEPTH, DEFAULT_MAX_VALUE_BYTES, type DataLimits } from './limits.ts'
import type { Header } from './raw-record.ts'
import { describeIssues, listProblems } from '../errors/schema-issues.ts'
import { findUnwritable, type Unwritable } from './unwritable.ts'

/** What is said about an event beside its data. */
export interface EncodeManyOptions extends DataLimits {
  /** When it happened. Default: now. */
  readonly time?: Date
  /** The event that began it all. Default: the event's own id. */
  readonly correlationId?: string
  /** The event or job that led to this one. Default: none. */
  readonly causationId?: string | null
  /** Where the record of that event stands, `topic/partition/offset`, if its own headers do not say its id. Default: none. */
  readonly causationRecord?: string
  /** W3C trace context. One that is not valid is left out. Default: none. */
  readonly traceparent?: string | null
  /** Instead of the definition's key. `null`: no key. */
  readonly key?: string | null
}

/** What is said about one event beside its data. */
export interface EncodeOptions extends EncodeManyOptions {
  /** The same for every copy of the event. Default: a new UUID version 7. */
  readonly id?: string
}

/** An event as a record, ready to be appended to a log. */
export interface EncodedEvent {
  readonly id: string
  readonly topic: string
  readonly type: string
  readonly key: Uint8Array | null
  readonly value: Uint8Array
  readonly headers: readonly Header[]
  readonly timestamp: Date
}

/**
 * An event as a record: CloudEvents 1.0 in Kafka's binary mode, data as JSON.
 *
 * What is validated is what every reader will see: the data after a round trip through JSON. Numbers are IEEE doubles
 * there, `undefined` vanishes, a `Date` is a string. A promise only where the schema validates asynchronously.
 * @throws E_EVENT_INVALID naming type and paths, never values.
 * @throws E_EVENT_TOO_LARGE when the value is larger or nested deeper than readers accept.
 */
export function encodeEvent<Input>(
  core: Core,
  definition: EventDefinition<string, Input, unknown>,
  data: NoInfer<Input>,
  options: EncodeOptions = {},
): EncodedEvent | Promise<EncodedEvent> {
  const { text, value } = writeData(definition, data, options)
  const wire: unknown = JSON.parse(text)
  const found = findUnstorableText(text, wire)
  if (found !== undefined) {
    throw invalid(definition, `${showPath(found)} has U+0000 or a lone surrogate in its text`)
  }
  const result = definition.schema['~standard'].validate(wire)
  if (isThenable(result)) {
    return result.then((late) => {
      checkIssues(definition, late, wire)
      return toRecord(core, definition, data, value, options)
    })
  }
  checkIssues(definition, result, wire)
  return toRecord(core, definition, data, value, options)
}

/** {@link encodeEvent} for many of one type, in order. All or none: the first that is invalid is thrown. */
export async function encodeEvents<Input>(
  core: Core,
  definition: EventDefinition<string, Input, unknown>,
  data: readonly NoInfer<Input>[],
  options: EncodeManyOptions = {},
): Promise<EncodedEvent[]> {
  const encoded: EncodedEvent[] = []
  for (const one of data) {
    const result = encodeEvent(core, definition, one, options)
    encoded.push(isThenable(result) ? await result : result)
  }
  return encoded
}

type AnyEvent = EventDefinition<string, never, unknown>

function writeData(
  definition: AnyEvent,
  data: unknown,
  { maxValueBytes = DEFAULT_MAX_VALUE_BYTES, maxDepth = DEFAULT_MAX_DEPTH }: DataLimits,
): { text: string; value: Uint8Array } {
  let text: string | undefined
  try {
    text = JSON.stringify(data)
  } catch (error) {
    const found = unwritable(data)
    // Deep data ends the stack; that is no fault of its values.
    if (found === undefined && error instanceof RangeError) throw tooDeep(definition, maxDepth)
    throw invalid(
      definition,
      found === undefined
        ? 'data cannot be written as JSON'
        : `${showPath(found.path)}: expected a JSON value, got ${found.what}`,
      error,
    )
  }
  if (text === undefined) {
    throw invalid(definition, `data: expected a JSON value, got ${typeof data}`)
  }
  const value = Buffer.from(text, 'utf8')
  if (value.length > maxValueBytes) {
    throw new MillraceError(
      'E_EVENT_TOO_LARGE',
      `event '${definition.type}' has ${value.length} bytes of data, and at most ${maxValueBytes} are allowed`,
      { details: { type: definition.type, bytes: value.length, maxValueBytes } },
    )
  }
  if (isDeeperThan(value, maxDepth)) throw tooDeep(definition, maxDepth)
  return { text, value }
}

function unwritable(data: unknown): Unwritable | undefined {
  try {
    return findUnwritable(data)
  } catch {
    // A getter or a proxy that throws: the error of the writing itself says so.
    return undefined
  }
}

function checkIssues(
  definition: AnyEvent,
  result: StandardSchemaV1.Result<unknown>,
  wire: unknown,
): void {
  if (result.issues === undefined) return
  const problems = describeIssues(result.issues, wire)
  throw new MillraceError(
    'E_EVENT_INVALID',
    `event '${definition.type}' (version ${definition.version}) does not match its schema:\n${listProblems(problems, result.issues.length)}`,
    { details: { type: definition.type, version: definition.version, problems } },
  )
}

function toRecord<Input>(
  core: Core,
  definition: EventDefinition<string, Input, unknown>,
  data: Input,
  value: Uint8Array,
  options: EncodeOptions,
): EncodedEvent {
  const id = options.id ?? core.ids.uuid()
  const time = options.time ?? core.clock.now()
  const correlationId = options.correlationId ?? id
  const causationId = options.causationId ?? null
  for (const [option, text] of Object.entries({ id, correlationId, causationId })) {
    if (text !== null && !isEnvelopeText(text)) {
      const expected = `1 to ${MAX_ID_LENGTH} characters without control characters`
      throw invalid(definition, `${option}: expected ${expected}`)
    }
  }
  // The years that RFC 3339 can write.
  const year = time.getUTCFullYear()
  if (!(year >= 0 && year <= 9999)) {
    throw invalid(definition, 'time: expected a valid date in the years 0 to 9999')
  }
  const key = options.key === undefined ? keyOf(definition, data) : options.key
  checkKey(definition, key)
  const headers: Header[] = [
    header(HEADER.specVersion, '1.0'),
    header(HEADER.id, id),
    header(HEADER.type, definition.type),
    header(HEADER.source, definition.source),
    header(HEADER.time, time.toISOString()),
    header(HEADER.contentType, 'application/json'),
    header(HEADER.dataVersion, String(definition.version)),
    header(HEADER.correlationId, correlationId),
  ]
  if (causationId !== null) headers.push(header(HEADER.causationId, causationId))
  const { traceparent, causationRecord } = options
  if (causationRecord !== undefined) {
    headers.push(header(HEADER.causationRecord, causationRecord))
  }
  if (typeof traceparent === 'string' && isTraceparent(traceparent)) {
    headers.push(header(HEADER.traceparent, traceparent))
  }
  return {
    id,
    topic: definition.topic,
    type: definition.type,
    key: key === null ? null : Buffer.from(key, 'utf8'),
    value,
    headers,
    timestamp: time,
  }
}

function keyOf<Input>(definition: EventDefinition<string, Input, unknown>, data: Input): unknown {
  try {
    return definition.key(data)
  } catch (error) {
    throw invalid(definition, 'its `key` function threw an error', error)
  }
}

function checkKey(definition: AnyEvent, key: unknown): asserts key is string | null {
  if (key === null || (typeof key === 'string' && !isUnstorable(key))) return
  throw invalid(
    definition,
    typeof key === 'string'
      ? 'key: expected text without U+0000 and lone surrogates'
      : `key: expected a string or null, got ${typeof key}`,
  )
}

function header(name: string, value: string): Header {
  return [name, Buffer.from(value, 'utf8')]
}

function invalid(definition: AnyEvent, problem: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'E_EVENT_INVALID',
    `event '${definition.type}' (version ${definition.version}) cannot be published: ${problem}`,
    {
      details: { type: definition.type, version: definition.version, problem },
      ...(cause === undefined ? {} : { cause }),
    },
  )
}

function tooDeep(definition: AnyEvent, maxDepth: number): MillraceError {
  return new MillraceError(
    'E_EVENT_TOO_LARGE',
    `event '${definition.type}' has data nested deeper than the ${maxDepth} levels that are allowed`,
    { details: { type: definition.type, maxDepth } },
  )
}
