import type { Queryable } from '../postgres/queryable.ts'
import { unknownTopic } from './log-errors.ts'
import type { Topic } from './port.ts'

interface TopicRow extends Record<string, unknown> {
  readonly id: string
  readonly name: string
  readonly partitions: number
}

/**
 * What this process remembers of the topics' names. A topic that was deleted and made again is noticed by whoever uses the
 * old id: the database refuses it, the name is forgotten and looked up again.
 */
export class TopicNames {
  readonly #known = new Map<string, Topic>()

  /**
   * The topics of these names, asking `db` only for those that are not remembered.
   * @throws E_LOG_UNKNOWN_TOPIC naming those that do not exist.
   */
  async resolve(db: Queryable, names: ReadonlySet<string>): Promise<ReadonlyMap<string, Topic>> {
    const missing = [...names].filter((name) => !this.#known.has(name))
    if (missing.length > 0) {
      for (const topic of await findTopics(db, missing)) this.#known.set(topic.name, topic)
      const unknown = missing.filter((name) => !this.#known.has(name))
      if (unknown.length > 0) throw unknownTopic(unknown)
    }
    return this.#known
  }

  forget(names: Iterable<string>): void {
    for (const name of names) this.#known.delete(name)
  }
}

/** The topics of these names that exist; all, where none are given. By name. */
export async function findTopics(db: Queryable, names?: readonly string[]): Promise<Topic[]> {
  const { rows } = await db.query<TopicRow>(
    `/* millrace:topic-list */ select id, name, partitions from millrace.topic
     where $1::text[] is null or name = any ($1) order by name`,
    [names ?? null],
  )
  return rows.map(({ id, name, partitions }) => ({ id, name, partitions }))
}

/** Makes a topic, or gives the one of that name that is there. */
export async function createTopic(
  db: Queryable,
  id: string,
  name: string,
  partitions: number,
): Promise<Topic> {
  const { rows } = await db.query<TopicRow>(
    '/* millrace:topic-create */ select id, partitions from millrace.topic_create($1, $2, $3)',
    [id, name, partitions],
  )
  const row = rows[0] as TopicRow
  return { id: row.id, name, partitions: row.partitions }
}

/** Takes a topic out of the database, with the records that are left of it. */
export async function dropTopic(db: Queryable, id: string): Promise<void> {
  await db.query('/* millrace:topic-delete */ select millrace.topic_delete($1)', [id])
}

/** Whether a statement failed because its topic was deleted, before it began or while it ran. */
export function isTopicGone(error: unknown): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown }
  if (code === '42704') return true
  return code === 'XX000' && /could not open relation/.test(String(message))
}
