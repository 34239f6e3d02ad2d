import { writer, type WriterEnvironment } from '../bridge/millrace-transaction.ts'
import { directSink, Wakes } from '../bridge/sink.ts'
import type { EventDefinition } from '../events/event.ts'
import type { EventPublisher } from '../jobs/event-publisher.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { transaction } from '../postgres/transaction.ts'

/** How a job's handler publishes: the events' side of it, given to the jobs' side. The job is the event's cause. */
export function eventPublisher(env: WriterEnvironment): EventPublisher {
  return {
    async publish(definition, data, { tx, cause: { jobId, meta }, ...options }) {
      const wakes = new Wakes()
      const cause = {
        causationId: jobId,
        correlationId: meta.correlationId ?? jobId,
        ...(meta.traceparent === undefined ? {} : { traceparent: meta.traceparent }),
      }
      const publish = async (db: Queryable): Promise<void> => {
        await writer(env, directSink(env, db, wakes), cause).publish(
          definition as EventDefinition,
          data,
          options,
        )
      }
      if (tx === undefined) {
        await transaction(env.pool, env.core, publish)
        await wakes.send(env)
      } else {
        tx.afterCommit(() => wakes.send(env))
        await publish(tx)
      }
    },
  }
}
