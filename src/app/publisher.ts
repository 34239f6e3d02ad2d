import { writer, type WriterEnvironment } from '../bridge/millrace-transaction.ts'
import { autonomousSink, directSink, Wakes } from '../bridge/sink.ts'
import type { EventDefinition } from '../events/event.ts'
import type { EventPublisher } from '../jobs/event-publisher.ts'

/** How a job's handler publishes: the events' side of it, given to the jobs' side. The job is the event's cause. */
export function eventPublisher(env: WriterEnvironment): EventPublisher {
  return {
    async publish(definition, data, { tx, cause: { jobId, meta }, ...options }) {
      const cause = {
        causationId: jobId,
        correlationId: meta.correlationId ?? jobId,
        ...(meta.traceparent === undefined ? {} : { traceparent: meta.traceparent }),
      }
      let sink = autonomousSink(env)
      if (tx !== undefined) {
        const wakes = new Wakes()
        tx.afterCommit(() => wakes.send(env))
        sink = directSink(env, tx, wakes)
      }
      await writer(env, sink, cause).publish(definition as EventDefinition, data, options)
    },
  }
}
