import { MillraceError } from '../errors/millrace-error.ts'
import type { Topic } from './port.ts'

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
