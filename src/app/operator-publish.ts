import { noteAction, noteOutcome, type OperatorAction } from '../control/operator-action.ts'
import type { EventDefinition } from '../events/event.ts'
import { encodeEvent, type EncodeManyOptions } from '../events/encode.ts'
import type { AppendedRecord } from '../log/port.ts'
import { wakeLog } from '../log/wake.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
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

/** How an operator asked for events to be published, for the audit. */
export interface PublishOrder {
  readonly type: string
  /** The key, where one was given. */
  readonly key?: string | undefined
  /** Why. Default: not said. */
  readonly reason?: string | undefined
}

/**
 * Publishes events in one step: all of them, or none. When the connection is lost on the way, the database is asked what
 * became of them before anything is reported.
 *
 * It is noted in the audit, in the same transaction; for a log outside of the database before it is begun, and what became of
 * it afterwards.
 * @throws E_LOG_UNKNOWN_TOPIC
 * @throws E_DB_CONNECT, retryable, when nothing was published.
 * @throws E_DB_UNKNOWN_COMMIT when nobody can say whether they were.
 */
export async function publishPrepared(
  operator: Operator,
  events: readonly PreparedEvent[],
  { type, key, reason }: PublishOrder,
): Promise<PublishedEvent[]> {
  if (events.length === 0) return []
  const log = await operator.log()
  const action: OperatorAction = {
    user: operator.user,
    reason,
    action: 'events.publish',
    filter: { type, ...(key === undefined ? {} : { key }) },
    count: events.length,
    detail: { outcome: 'published', ids: events.map(({ id }) => id) },
  }
  const places = log.transactional
    ? await transaction(operator.pool, operator.core, async (tx) => {
        const appended = await log.append(events, { tx })
        await noteAction(tx, action)
        tx.afterCommit(() =>
          wakeLog(
            operator.pool,
            appended.map(({ topicId }) => topicId),
          ),
        )
        return appended
      })
    : await appendNoted(operator, action, () => log.append(events))
  return events.map(({ id, topic }, index) => ({ id, topic, ...(places[index] as AppendedRecord) }))
}

/** Notes first what is about to be done outside of the database, then what became of it. */
async function appendNoted<T>(
  { core, pool }: Operator,
  action: OperatorAction,
  append: () => Promise<T>,
): Promise<T> {
  const asked = { ...(action.detail as object), outcome: 'asked for' }
  const id = await noteAction(pool, { ...action, detail: asked })
  const note = async (count: number, outcome: string): Promise<void> => {
    // What is done is done: that it was asked for is in the audit already.
    await noteOutcome(pool, id, { count, detail: { ...asked, outcome } }).catch((error: unknown) =>
      core.logger.warn(
        { error, action: String(id) },
        'the outcome could not be noted in the audit',
      ),
    )
  }
  try {
    const done = await append()
    await note(action.count, 'published')
    return done
  } catch (error) {
    const code = isMillraceError(error) ? error.code : 'E_HANDLER'
    const unknown = code === 'E_LOG_UNKNOWN_APPEND' || code === 'E_HANDLER'
    await note(
      unknown ? action.count : 0,
      `${unknown ? 'not known' : 'nothing published'}: ${code}`,
    )
    throw error
  }
}
