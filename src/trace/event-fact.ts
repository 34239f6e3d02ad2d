import { isUuid } from '../core/ids.ts'
import { HEADER, pickHeaders } from '../events/envelope.ts'
import type { PlacedRecord } from '../events/raw-record.ts'
import { keyText, readText } from '../events/read-envelope.ts'
import { recordId } from '../events/record-id.ts'
import type { EventFact, JobFact } from './facts.ts'

/**
 * An event as the job that was made from its record knows it: what a foreign definition makes of a record's ids stands in no
 * header.
 */
export function asKnownBy(event: EventFact, job: JobFact | undefined): EventFact {
  if (job === undefined || !isRecordId(event.id)) return event
  return { ...event, id: job.causationId ?? event.id, correlationId: job.correlationId }
}

/** Whether an id was made of where its record stands, as there is none in its headers. */
export function isRecordId(id: string): boolean {
  return isUuid(id) && id[14] === '8'
}

/** Longest key that is told, in characters. */
const KEY_LENGTH = 200

/**
 * What a record says about itself, without its value. Whatever is missing or cannot be read is left out: a record without an
 * id is called what millrace calls it when it handles it.
 */
export function eventFact(record: Omit<PlacedRecord, 'value'>): EventFact {
  const headers = pickHeaders(record.headers)
  const text = (name: (typeof HEADER)[keyof typeof HEADER]): string | null =>
    readText(headers[name] ?? null) ?? null
  const id = text(HEADER.id) ?? recordId({ ...record, value: null })
  return {
    id,
    type: text(HEADER.type),
    source: text(HEADER.source),
    topic: record.topic,
    topicId: record.topicId,
    partition: record.partition,
    offset: record.offset,
    at: record.timestamp,
    key: keyText(record.key)?.slice(0, KEY_LENGTH) ?? null,
    correlationId: text(HEADER.correlationId) ?? id,
    causationId: text(HEADER.causationId),
    causationRecord: text(HEADER.causationRecord),
    traceparent: text(HEADER.traceparent),
    found: 'log',
  }
}
