import type { NewDeadLetter, Trace } from '../dead-letter/dead-letter.ts'
import type { RejectedRecord } from '../events/decode.ts'

/** What is known of the event of a record that failed. */
export type EventFacts = NewDeadLetter['event'] & {
  readonly correlationId?: string
  readonly traceparent?: string | null
}

type RejectedFacts = {
  readonly [K in 'eventId' | 'eventType' | 'eventVersion' | 'correlationId' | 'traceparent']?:
    | RejectedRecord[K]
    | undefined
}

/** What a dead letter tells of the chain that its event stands in. */
export function traceOf(event: EventFacts): Trace {
  return {
    ...(event.correlationId === undefined ? {} : { correlationId: event.correlationId }),
    ...(event.id === undefined ? {} : { causationId: event.id }),
    ...(event.traceparent == null ? {} : { traceparent: event.traceparent }),
  }
}

/** What could be read of the envelope of a record that was rejected. */
export function factsOf(rejected: RejectedFacts): EventFacts {
  const { eventId, eventType, eventVersion, correlationId, traceparent } = rejected
  return {
    ...(eventId === undefined ? {} : { id: eventId }),
    ...(eventType === undefined ? {} : { type: eventType }),
    ...(eventVersion === undefined ? {} : { version: eventVersion }),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(traceparent === undefined ? {} : { traceparent }),
  }
}
