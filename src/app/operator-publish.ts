import type { EventDefinition } from '../events/event.ts'
import { encodeEvent, type EncodeManyOptions } from '../events/encode.ts'
import type { AppendedRecord } from '../log/port.ts'
import { wakeLog } from '../log/wake.ts'
import { transaction } from '../postgres/transaction.ts'
import type { Operator } from './operator.ts'

/** An event that an operator publishes, checked and ready. */
export type PreparedEvent = Awaited<ReturnType<typeof encodeEvent>>

/** An event where it was put. */
export interface PublishedEvent extends AppendedRecord {
  readonly id: string
  readonly topic: string
}

/**
 * Checks data from outside against an event's definition.
 * @throws E_EVENT_INVALID, E_EVENT_TOO_LARGE
 */
export async function prepareEvent(
  operator: Operator,
  definition: EventDefinition<string, never, unknown>,
  data: unknown,
  options: EncodeManyOptions = {},
): Promise<PreparedEvent> {
  return encodeEvent(operator.core, definition, data as never, options)
}

/**
 * Publishes events in one step: all of them, or none. When the connection is lost on the way, the database is asked what
 * became of them before anything is reported.
 * @throws E_LOG_UNKNOWN_TOPIC
 * @throws E_DB_CONNECT, retryable, when nothing was published.
 * @throws E_DB_UNKNOWN_COMMIT when nobody can say whether they were.
 */
export async function publishPrepared(
  operator: Operator,
  events: readonly PreparedEvent[],
): Promise<PublishedEvent[]> {
  if (events.length === 0) return []
  const log = await operator.log()
  const places = log.transactional
    ? await transaction(operator.pool, operator.core, async (tx) => {
        const appended = await log.append(events, { tx })
        tx.afterCommit(() =>
          wakeLog(
            operator.pool,
            appended.map(({ topicId }) => topicId),
          ),
        )
        return appended
      })
    : await log.append(events)
  return events.map(({ id, topic }, index) => ({ id, topic, ...(places[index] as AppendedRecord) }))
}
