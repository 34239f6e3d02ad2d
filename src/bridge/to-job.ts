import { isThenable } from '../core/thenable.ts'
import {
  isSkip,
  type HandlerDefinition,
  type RecordContext,
  type Skip,
} from '../consumer/handler.ts'
import type { ReceivedEvent } from '../events/received-event.ts'
import { insertJobs } from '../jobs/insert.ts'
import type { AnyJobDefinition, JobDefinition } from '../jobs/job.ts'
import type { JobMeta } from '../jobs/meta.ts'
import { newJob, type NewJob, type NewJobOptions } from '../jobs/new-job.ts'
import type { ReserveOptions } from '../process/reserve-options.ts'

/** Options of {@link toJob}; whatever is left out is the job's own. */
export type ToJobOptions = Pick<NewJobOptions, 'queue' | 'priority' | 'maxAttempts' | 'scheduleIn'>

/** A handler that makes a job of every record, and which job that is. */
export interface ToJob<E> extends HandlerDefinition<E> {
  readonly job: AnyJobDefinition
}

/**
 * Makes a job of every record: one per event and handler, in the transaction that moves the position, all jobs of a batch
 * with one statement; or two, where this process has places for some of them, which are claimed as they are inserted.
 * `args` says what the job is given; it may look things up, and it may {@link skip}.
 *
 * The job keeps the record's origin. Args that do not match the job's schema make the record a dead letter.
 */
export function toJob<E extends ReceivedEvent<string, unknown>, I>(
  job: JobDefinition<string, I, unknown>,
  args: (event: E, context: RecordContext) => NoInfer<I> | Skip | Promise<NoInfer<I> | Skip>,
  options: ToJobOptions = {},
): ToJob<E> {
  return {
    job,
    defaultName: job.kind,
    bind: ({ core, waker, places }) => ({
      disposition: 'jobs',
      ...(places === undefined || options.scheduleIn !== undefined
        ? {}
        : {
            reserve: (records: number, how: ReserveOptions) =>
              places.reserve({ queue: options.queue ?? job.queue, kind: job.kind }, records, how),
          }),
      prepare(event: E, context): NewJob | Skip | Promise<NewJob | Skip> {
        const make = (given: I | Skip): NewJob | Skip =>
          isSkip(given)
            ? given
            : newJob(core, job, given, { ...options, meta: metaOf(event, context) })
        const given = args(event, context)
        return isThenable(given) ? Promise.resolve(given).then(make) : make(given)
      },
      async applyBatch(records, tx, reservation) {
        const jobs = records.map(({ prepared }) => prepared as NewJob)
        if (reservation !== undefined) return reservation.insert(tx, jobs)
        const { wakes } = await insertJobs(tx, jobs)
        tx.afterCommit(() => waker.wake(wakes))
      },
    }),
  }
}

function metaOf(event: ReceivedEvent<string, unknown>, context: RecordContext): JobMeta {
  const { record } = context
  return {
    origin: {
      application: context.application,
      handler: context.handler,
      topic: record.topic,
      topicId: record.topicId,
      partition: record.partition,
      offset: record.offset,
      generation: context.generation,
      index: 0,
      writtenMs: record.timestamp.getTime(),
    },
    correlationId: event.correlationId,
    causationId: event.id,
    ...(event.traceparent === null ? {} : { traceparent: event.traceparent }),
  }
}
