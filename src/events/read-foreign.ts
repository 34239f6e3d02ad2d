import { isEnvelopeText, MAX_ID_LENGTH } from './envelope.ts'
import type { ForeignDefinition } from './foreign.ts'
import type { PlacedRecord } from './raw-record.ts'
import { keyText } from './read-envelope.ts'
import type { ReceivedEvent } from './received-event.ts'
import { recordId } from './record-id.ts'

/**
 * The event that a foreign record is, once its JSON has passed the schema.
 * @throws whatever the definition's functions throw, and `TypeError` when one returns what it must not.
 */
export function foreignEvent(
  definition: ForeignDefinition,
  output: unknown,
  record: PlacedRecord,
): ReceivedEvent {
  const id = definition.id === undefined ? recordId(record) : definition.id(output, record)
  if (typeof id !== 'string' || !isEnvelopeText(id)) {
    throw new TypeError(
      `id: expected a string of 1 to ${MAX_ID_LENGTH} characters without control characters`,
    )
  }
  const time = definition.time === undefined ? record.timestamp : definition.time(output, record)
  if (!(time instanceof Date) || Number.isNaN(time.getTime())) {
    throw new TypeError('time: expected a valid Date')
  }
  const key = definition.key === undefined ? keyText(record.key) : definition.key(output, record)
  if (key !== null && typeof key !== 'string') {
    throw new TypeError(`key: expected a string or null, got ${typeof key}`)
  }
  return {
    id,
    type: definition.type,
    source: definition.source,
    time,
    version: 1,
    key,
    data: definition.map === undefined ? output : definition.map(output, record),
    correlationId: id,
    causationId: null,
    traceparent: null,
  }
}
