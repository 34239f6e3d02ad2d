import type { Core } from '../core/core.ts'
import { METRICS, addCounts, type CountChange } from '../counts/counts.ts'
import { writeDeadLetters, type NewDeadLetter } from '../dead-letter/dead-letter.ts'
import { describeError, type ErrorDescription } from '../errors/describe.ts'
import { HEADER, pickHeaders } from '../events/envelope.ts'
import { readEnvelope } from '../events/read-envelope.ts'
import type { FinishedJob } from '../jobs/finished.ts'
import type { JobOrigin } from '../jobs/meta.ts'
import type { Log, LogRecord } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** The origin says where the bytes are; a log that cannot be read just now must not keep a job from ending. */
const WITHOUT_BYTES =
  'records of discarded jobs could not be read; their dead letters keep the origin without the bytes'

/** What writing the dead letters of discarded jobs needs. */
export interface DiscardedJobsEnvironment {
  readonly core: Core
  readonly log: Log
  readonly codeVersion: string | null
}

/**
 * Makes dead letters of discarded jobs, in the transaction that finishes them. A job that came from a record keeps the
 * record's origin, and its bytes if the log still has them. What stands in its place since the log lost its tail is not it.
 */
export async function discardedJobsToDeadLetters(
  env: DiscardedJobsEnvironment,
  tx: Queryable,
  finished: readonly FinishedJob[],
): Promise<void> {
  const discarded = finished.filter(({ state }) => state === 'discarded')
  if (discarded.length === 0) return
  const records = await recordsOf(env, discarded)
  const perApplication = Map.groupBy(discarded, (job) => job.application ?? '')
  const counts: CountChange[] = []
  for (const [label, jobs] of perApplication) {
    const letters = jobs.map((job) => deadLetter(env, job, records.get(job.id)))
    counts.push({ metric: METRICS.deadLetters, label, delta: await writeDeadLetters(tx, letters) })
  }
  await addCounts(tx, counts)
}

async function recordsOf(
  { core, log }: DiscardedJobsEnvironment,
  jobs: readonly FinishedJob[],
): Promise<Map<string, LogRecord>> {
  const found = new Map<string, LogRecord>()
  const fromRecords = jobs.flatMap((job) =>
    job.meta.origin === undefined ? [] : [{ job, origin: job.meta.origin }],
  )
  if (fromRecords.length === 0) return found
  try {
    const results = await log.read(
      fromRecords.map(({ origin: { topic, topicId, partition, offset } }) => ({
        topic,
        topicId,
        partition,
        offset,
        maxRecords: 1,
      })),
    )
    for (const [index, { job, origin }] of fromRecords.entries()) {
      const record = results[index]?.records[0]
      if (record !== undefined && isOrigin(record, origin)) found.set(job.id, record)
    }
    const unavailable = results.flatMap(({ unavailable: reason }) => reason ?? [])
    if (unavailable.length > 0) {
      core.logger.warn({ reason: unavailable[0], jobs: unavailable.length }, WITHOUT_BYTES)
    }
  } catch (error) {
    core.logger.warn({ error: describeError(error), jobs: fromRecords.length }, WITHOUT_BYTES)
  }
  return found
}

/** Whether it is the job's own record, and not one behind it, or one that was written in its place. */
function isOrigin({ offset, timestamp }: LogRecord, origin: JobOrigin): boolean {
  const isOfThen = origin.writtenMs == null || origin.writtenMs === timestamp.getTime()
  return offset === origin.offset && isOfThen
}

function deadLetter(
  { codeVersion, log }: DiscardedJobsEnvironment,
  job: FinishedJob,
  record: LogRecord | undefined,
): NewDeadLetter {
  const { origin, ...trace } = job.meta
  return {
    application: job.application,
    handler: origin?.handler ?? job.kind,
    stage: 'job',
    origin:
      origin === undefined
        ? null
        : {
            topic: origin.topic,
            topicId: origin.topicId,
            partition: origin.partition,
            offset: origin.offset,
            generation: origin.generation,
          },
    ...(origin === undefined ? {} : { cluster: log.cluster ?? log.kind }),
    record: record ?? null,
    event: {
      // Whatever made a job of a record named the record's event as its cause.
      ...(origin === undefined || trace.causationId === undefined ? {} : { id: trace.causationId }),
      ...(record === undefined ? {} : typeOf(record)),
    },
    job: { id: job.id, kind: job.kind, argsJson: job.argsJson },
    error: job.error ?? noError(job.reason),
    attempts: job.attempt,
    codeVersion,
    trace,
  }
}

/** Type and version as the record's headers say. What has no type is an event by a foreign definition, and has no version. */
function typeOf(record: LogRecord): { readonly type?: string; readonly version?: number } {
  const headers = pickHeaders(record.headers)
  const type = headers[HEADER.type]
  if (type == null) return {}
  const { version } = readEnvelope(headers, record).envelope
  return { type: Buffer.from(type).toString(), ...(version === undefined ? {} : { version }) }
}

/** A handler may discard without an error: then its reason is all there is. */
function noError(reason: string | null): ErrorDescription {
  return { class: 'Discarded', message: reason ?? 'the handler discarded the job without a reason' }
}
