import { uuidOfName } from '../core/name-id.ts'

/** The record that a job was made from. */
export interface JobOrigin {
  readonly application: string
  readonly handler: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  /** Grows when records are read again on purpose, so that their jobs are new on purpose. */
  readonly generation: number
  /** Which of the jobs that this handler made from this record, from 0. */
  readonly index: number
  /**
   * When the record was written, as its log says, in milliseconds since 1970: tells it, unless many are written with one time,
   * from another that stands in its place since the log has lost its tail. Jobs made by earlier versions have none.
   */
  readonly writtenMs?: number
}

/** What a job carries beside its args: where it comes from, and what caused it. */
export interface JobMeta {
  readonly origin?: JobOrigin
  /** Id shared by everything that follows from one beginning. */
  readonly correlationId?: string
  /** Id of the event or job that caused this one. */
  readonly causationId?: string
  /**
   * Where the record of that event stands, `topic/partition/offset`, if its own headers do not say its id. Not of jobs with an
   * origin.
   */
  readonly causationRecord?: string
  /** W3C trace context. */
  readonly traceparent?: string
}

/** `meta` as stored; `null` when there is nothing to store. Offsets cross JSON as strings. */
export function encodeMeta(meta: JobMeta): string | null {
  const { origin, correlationId, causationId, causationRecord, traceparent } = meta
  if (
    origin === undefined &&
    correlationId === undefined &&
    causationId === undefined &&
    causationRecord === undefined &&
    traceparent === undefined
  ) {
    return null
  }
  return JSON.stringify({
    origin: origin && encodedOrigin(origin),
    correlationId,
    causationId,
    causationRecord,
    traceparent,
  })
}

/** Key by key, for one is made for each job, and copying all keys takes as long again as writing them. */
function encodedOrigin(origin: JobOrigin): Record<keyof JobOrigin, string | number | undefined> {
  const { application, handler, topic, topicId, partition, generation, index, writtenMs } = origin
  const offset = String(origin.offset)
  return { application, handler, topic, topicId, partition, offset, generation, index, writtenMs }
}

/** The inverse of {@link encodeMeta}. */
export function decodeMeta(text: string | null): JobMeta {
  if (text === null) return {}
  const { origin, ...rest } = JSON.parse(text) as Omit<JobMeta, 'origin'> & {
    readonly origin?: Omit<JobOrigin, 'offset'> & { readonly offset: string }
  }
  if (origin === undefined) return rest
  return { ...rest, origin: { ...origin, offset: BigInt(origin.offset) } }
}

/**
 * The key under which a job's effects outside this database are to be done: the same for every attempt.
 *
 * A job made from a record gets a UUID version 8 (RFC 9562) from the SHA-256 of where the record stands, so that the job
 * made again from the same record, after the database was restored to an earlier state, has the same key. Any other
 * job's key is its id.
 */
export function idempotencyKeyOf(id: string, origin: JobOrigin | undefined): string {
  if (origin === undefined) return id
  const { application, handler, topic, topicId, partition, offset, generation, index } = origin
  // Of a record that another program set aside only the topic's name is known.
  const where = topicId === '' ? topic : topicId
  const name = [application, handler, where, partition, String(offset), generation, index]
  return uuidOfName(JSON.stringify(['millrace.job', ...name]))
}
