import { isThenable } from '../core/thenable.ts'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { Problems, isWhole } from '../errors/config.ts'
import type { MillraceError } from '../errors/millrace-error.ts'
import { mismatch, threwError, undecodable, unreadableValue, versionError } from './decode-error.ts'
import type { Definition } from './definition.ts'
import { HEADER, type HeaderValues, pickHeaders } from './envelope.ts'
import type { EventDefinition } from './event.ts'
import type { ForeignDefinition } from './foreign.ts'
import {
  DEFAULT_MAX_DEPTH,
  DEFAULT_MAX_VALUE_BYTES,
  GREATEST_VALUE_BYTES,
  type DataLimits,
} from './limits.ts'
import type { PlacedRecord } from './raw-record.ts'
import { type Envelope, keyText, readEnvelope, readText } from './read-envelope.ts'
import { foreignEvent } from './read-foreign.ts'
import { readJson } from './read-json.ts'
import type { ReceivedEvent } from './received-event.ts'
import { recordId } from './record-id.ts'
import type { TombstoneDefinition } from './tombstone.ts'

/** What a record turned out to be. */
export type Decoded<D = Definition> = DecodedEvent<D> | FilteredRecord | RejectedRecord

/** An event that somebody handles. */
export interface DecodedEvent<D = Definition> {
  readonly kind: 'event'
  readonly event: ReceivedEvent
  readonly definition: D
}

/** A record that nobody asked for. It is counted, and that is all. */
export interface FilteredRecord {
  readonly kind: 'filtered'
  /**
   * `unhandled type`: of a type that no definition names. `no type`: it has none, and its topic has no foreign
   * definition. `tombstone`: it has no value, and nobody asked for its topic's tombstones.
   */
  readonly reason: 'unhandled type' | 'no type' | 'tombstone'
  readonly eventType?: string
}

/** A record of a handled type that cannot be read, now or later: it becomes a dead letter. */
export interface RejectedRecord {
  readonly kind: 'rejected'
  /** `decode`: bytes and headers. `validate`: upcasters, schema and the functions of a foreign definition. */
  readonly stage: 'decode' | 'validate'
  readonly error: MillraceError
  /** Of the envelope, as far as it could be read. */
  readonly eventId?: string
  readonly eventType?: string
  readonly eventVersion?: number
  readonly correlationId?: string
  readonly causationId?: string
  readonly traceparent?: string
}

/** Limits of {@link createDecoder}. */
export interface DecoderOptions extends DataLimits {
  /** Most headers of a record of a handled type. Default 1,000. Bounds 16 … 100,000. */
  readonly maxHeaders?: number
}

/** Reads a record. Never throws and never rejects; a promise only where a schema validates asynchronously. */
export type Decode<D = Definition> = (record: PlacedRecord) => Decoded<D> | Promise<Decoded<D>>

/** The definition that a decoder works with, for any type of its data. */
type Known = EventDefinition<string, never, unknown> | ForeignDefinition | TombstoneDefinition

interface TopicDefinitions<D> {
  readonly events: Map<string, D & EventDefinition>
  foreign?: D & ForeignDefinition
  tombstone?: D & TombstoneDefinition
}

type Limits = Required<DecoderOptions>

/**
 * Makes the function that reads records as events of `definitions`. A definition counts for records of its own topic only.
 *
 * What is refused for good: values that are no JSON in UTF-8 (byte order marks included), empty or larger than
 * `maxValueBytes`, nested deeper than `maxDepth`, with U+0000 or lone surrogates in their text, of a version that no upcaster
 * reaches, or not matching the schema; and envelopes without id or source, or with a time that is none.
 *
 * What is taken as it is: any number of digits (numbers become IEEE doubles: past 2^53 they are rounded, past 1e308 they are
 * infinite; the record keeps its bytes), repeated names (the last counts), a property called `__proto__` (it is a
 * property like any other), keys of any bytes.
 * @throws E_CONFIG_INVALID when limits are out of bounds, or two definitions claim the same records.
 */
export function createDecoder<D extends Known>(
  definitions: Iterable<D>,
  options: DecoderOptions = {},
): Decode<D> {
  const limits: Limits = {
    maxValueBytes: options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES,
    maxDepth: options.maxDepth ?? DEFAULT_MAX_DEPTH,
    maxHeaders: options.maxHeaders ?? 1_000,
  }
  const problems = new Problems('the decoder')
  const whole = (option: keyof Limits, min: number, max: number): void => {
    const got = limits[option]
    problems.expect(isWhole(got, min, max), option, `a whole number from ${min} to ${max}`, got)
  }
  whole('maxValueBytes', 1, GREATEST_VALUE_BYTES)
  whole('maxDepth', 1, 1_000)
  whole('maxHeaders', 16, 100_000)
  const topics = byTopic(definitions, problems)
  problems.throwIfAny()
  return (record) => decode(topics, limits, record)
}

function byTopic<D extends Known>(
  definitions: Iterable<D>,
  problems: Problems,
): Map<string, TopicDefinitions<D>> {
  const topics = new Map<string, TopicDefinitions<D>>()
  for (const definition of definitions) {
    const { topic, type } = definition
    const known: TopicDefinitions<D> = topics.get(topic) ?? { events: new Map() }
    topics.set(topic, known)
    const other = definition.kind === 'event' ? known.events.get(type) : known[definition.kind]
    // Tombstones of one topic are the same, however often they are asked for.
    const clash = other !== undefined && other !== definition && definition.kind !== 'tombstone'
    problems.expect(
      !clash,
      'definitions',
      `one ${definition.kind} definition of a type on topic '${topic}'`,
      type,
    )
    if (other !== undefined) continue
    if (definition.kind === 'event') known.events.set(type, definition as D & EventDefinition)
    else if (definition.kind === 'foreign') known.foreign = definition as D & ForeignDefinition
    else known.tombstone = definition as D & TombstoneDefinition
  }
  return topics
}

function decode<D extends Known>(
  topics: Map<string, TopicDefinitions<D>>,
  limits: Limits,
  record: PlacedRecord,
): Decoded<D> | Promise<Decoded<D>> {
  const headers = pickHeaders(record.headers)
  const typeBytes = headers[HEADER.type]
  const known = topics.get(record.topic)
  if (record.value === null) return tombstoneOf(known?.tombstone, headers, record)
  if (typeBytes === undefined) {
    const foreign = known?.foreign
    if (foreign === undefined) return { kind: 'filtered', reason: 'no type' }
    return decodeForeign(foreign, limits, record, record.value)
  }
  const type = readText(typeBytes)
  if (type === undefined) {
    return rejected(
      {},
      'decode',
      undecodable(record, `header ${HEADER.type} cannot be read as text`),
    )
  }
  const definition = known?.events.get(type)
  if (definition === undefined)
    return { kind: 'filtered', reason: 'unhandled type', eventType: type }
  return decodeEvent(definition, limits, headers, record, record.value)
}

function decodeEvent<D extends Known>(
  definition: D & EventDefinition,
  limits: Limits,
  headers: HeaderValues,
  record: PlacedRecord,
  value: Uint8Array,
): Decoded<D> | Promise<Decoded<D>> {
  const { version, oldestVersion, type } = definition
  const { envelope, problem } = readEnvelope(headers, record)
  const about: About = { ...envelope, type }
  const refuse = (error: MillraceError): RejectedRecord => rejected(about, 'decode', error)
  if (problem !== undefined) return refuse(undecodable(record, problem, type))
  const tooMany = tooManyHeaders(limits, record, type)
  if (tooMany !== undefined) return refuse(tooMany)
  if (envelope.version > version || envelope.version < oldestVersion) {
    return refuse(versionError(record, definition, envelope.version))
  }
  const json = readJson(value, limits)
  if ('problem' in json) return refuse(unreadableValue(record, type, json))

  let data = json.data
  for (let from = envelope.version; from < version; from += 1) {
    try {
      data = definition.upcasters[from]?.(data)
    } catch (error) {
      const what = `the upcaster from version ${from} to ${from + 1} threw an error`
      return rejected(about, 'validate', threwError(record, type, what, error))
    }
  }
  const { source, id, time, correlationId, causationId, traceparent } = envelope
  return validate(definition, data, record, about, (output) => ({
    id,
    type,
    source,
    time,
    version: envelope.version,
    key: keyText(record.key),
    data: output,
    correlationId: correlationId ?? id,
    causationId: causationId ?? null,
    traceparent: traceparent ?? null,
  }))
}

function decodeForeign<D extends Known>(
  definition: D & ForeignDefinition,
  limits: Limits,
  record: PlacedRecord,
  value: Uint8Array,
): Decoded<D> | Promise<Decoded<D>> {
  const about: About = { type: definition.type }
  const tooMany = tooManyHeaders(limits, record, definition.type)
  if (tooMany !== undefined) return rejected(about, 'decode', tooMany)
  const json = readJson(value, limits)
  if ('problem' in json) {
    return rejected(about, 'decode', unreadableValue(record, definition.type, json))
  }
  return validate(definition, json.data, record, about, (output) =>
    foreignEvent(definition, output, record),
  )
}

function tombstoneOf<D extends Known>(
  definition: (D & TombstoneDefinition) | undefined,
  headers: HeaderValues,
  record: PlacedRecord,
): Decoded<D> {
  if (definition === undefined) return { kind: 'filtered', reason: 'tombstone' }
  // Often made by tools, which write no envelope, or half of one: what is there and readable is used.
  const { envelope } = readEnvelope(headers, record)
  const id = envelope.id ?? recordId(record)
  return {
    kind: 'event',
    definition,
    event: {
      id,
      type: definition.type,
      source: envelope.source ?? record.topic,
      time: envelope.time ?? record.timestamp,
      version: 1,
      key: keyText(record.key),
      data: null,
      correlationId: envelope.correlationId ?? id,
      causationId: envelope.causationId ?? null,
      traceparent: envelope.traceparent ?? null,
    },
  }
}

function validate<D extends Known>(
  definition: D & (EventDefinition | ForeignDefinition),
  data: unknown,
  record: PlacedRecord,
  about: About,
  toEvent: (output: unknown) => ReceivedEvent,
): Decoded<D> | Promise<Decoded<D>> {
  const { type } = definition
  const threw = (error: unknown): RejectedRecord => {
    const what = 'its schema or a function of its definition threw an error'
    return rejected(about, 'validate', threwError(record, type, what, error))
  }
  const finish = (result: StandardSchemaV1.Result<unknown>): Decoded<D> => {
    if (result.issues !== undefined) {
      return rejected(about, 'validate', mismatch(record, type, result.issues, data))
    }
    return { kind: 'event', event: toEvent(result.value), definition }
  }
  try {
    const result = definition.schema['~standard'].validate(data)
    return isThenable(result) ? Promise.resolve(result).then(finish).catch(threw) : finish(result)
  } catch (error) {
    return threw(error)
  }
}

function tooManyHeaders(
  { maxHeaders }: Limits,
  record: PlacedRecord,
  type: string,
): MillraceError | undefined {
  if (record.headers.length <= maxHeaders) return undefined
  const problem = `it has ${record.headers.length} headers, and at most ${maxHeaders} are read`
  return unreadableValue(record, type, { problem, tooLarge: true })
}

type About = Envelope & { readonly type?: string }

function rejected(
  about: About,
  stage: RejectedRecord['stage'],
  error: MillraceError,
): RejectedRecord {
  return {
    kind: 'rejected',
    stage,
    error,
    ...(about.id === undefined ? {} : { eventId: about.id }),
    ...(about.type === undefined ? {} : { eventType: about.type }),
    ...(about.version === undefined ? {} : { eventVersion: about.version }),
    ...(about.correlationId === undefined ? {} : { correlationId: about.correlationId }),
    ...(about.causationId === undefined ? {} : { causationId: about.causationId }),
    ...(about.traceparent === undefined ? {} : { traceparent: about.traceparent }),
  }
}
