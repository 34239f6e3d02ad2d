import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import type { AppendedRecord, Topic } from './port.ts'

/** E_LOG_UNKNOWN_TOPIC for topics by name or by what is known of them. */
export function unknownTopic(topics: readonly string[], cause?: unknown): MillraceError {
  return new MillraceError(
    'E_LOG_UNKNOWN_TOPIC',
    `the log has no topic ${topics.map((name) => `'${name}'`).join(', ')}`,
    {
      // Repeated after the topic was made, it succeeds.
      retryable: true,
      details: { topics },
      ...(cause === undefined ? {} : { cause }),
    },
  )
}

/**
 * The topic that is there, where one was to be made.
 * @throws E_LOG_TOPIC_EXISTS when it has another number of partitions than asked for.
 */
export function existingTopic(topic: Topic, asked: number | undefined): Topic {
  const { name, partitions } = topic
  if (asked === undefined || asked === partitions) return topic
  throw new MillraceError(
    'E_LOG_TOPIC_EXISTS',
    `topic '${name}' exists with ${partitions} partitions, not ${asked}`,
    { details: { topic: name, partitions, asked } },
  )
}

/**
 * E_LOG_UNKNOWN_APPEND: nobody can say whether all of an append was written, or only a part was.
 *
 * @param written what is known to be written, by its place in the append
 * @param unknown whether some of the others may be written as well
 */
export function unknownAppend(
  records: number,
  written: ReadonlyMap<number, AppendedRecord>,
  unknown: boolean,
  cause: MillraceError,
): MillraceError {
  const others = unknown ? 'of the others nobody knows' : 'the others were not'
  return new MillraceError(
    'E_LOG_UNKNOWN_APPEND',
    `${written.size} of ${records} records were written, ${others}: ${cause.message}`,
    {
      details: {
        records,
        written: Array.from(written, ([record, { topicId, partition, offset }]) => ({
          record,
          topicId,
          partition,
          offset: String(offset),
        })),
      },
      cause,
    },
  )
}

/** Which records of an append that has failed are known to be written all the same, by their places in it. */
export function writtenOf(error: unknown): ReadonlySet<number> {
  if (!isMillraceError(error) || error.code !== 'E_LOG_UNKNOWN_APPEND') return new Set()
  const { written = [] } = error.details as { written?: readonly { readonly record: number }[] }
  return new Set(written.map(({ record }) => record))
}
