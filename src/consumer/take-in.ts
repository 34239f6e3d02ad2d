import type { NewDeadLetter } from '../dead-letter/dead-letter.ts'
import type { ForeignDeadLetter } from '../dead-letter/foreign.ts'
import { HEADER, pickHeaders } from '../events/envelope.ts'
import { readEnvelope, readText } from '../events/read-envelope.ts'
import type { BatchScope } from './batch-environment.ts'
import { factsOf, traceOf } from './event-facts.ts'
import type { Item } from './step.ts'

/**
 * The dead letter of a record that another program has set aside. It failed there for whoever read it, so here it is one
 * for all of the application's handlers.
 */
export function takeIn(
  { application, codeVersion, log }: BatchScope['env'],
  { record, generation }: Pick<Item, 'record' | 'generation'>,
  { stage, origin, timestamp, error, attempts }: ForeignDeadLetter,
): NewDeadLetter {
  const { topic, topicId, partition, offset } = record
  const { envelope } = readEnvelope(pickHeaders(record.headers), record)
  const type = record.headers.find(([name]) => name === HEADER.type)?.[1]
  const event = factsOf({
    eventId: envelope.id,
    eventType: type == null ? undefined : readText(type),
    // A missing version is the first; where there is no type either, it is no event's.
    eventVersion: type == null ? undefined : envelope.version,
    correlationId: envelope.correlationId,
    traceparent: envelope.traceparent,
  })
  return {
    application,
    handler: '*',
    stage,
    origin:
      origin === null
        ? { topic, topicId, partition, offset, generation }
        : { ...origin, topicId: null, generation },
    cluster: log.cluster ?? log.kind,
    record: timestamp === null ? record : { ...record, timestamp },
    event,
    job: null,
    error,
    attempts,
    codeVersion,
    trace: {
      ...traceOf(event),
      takenFrom: { topic, topicId, partition, offset: String(offset) },
    },
  }
}
