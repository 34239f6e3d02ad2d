import { wake } from '../postgres/listener.ts'
import type { Queryable } from '../postgres/queryable.ts'

/**
 * Tells relays of records in these shards; of none: to look at everything. For after the commit, never inside of the
 * transaction. Lost, it costs a poll.
 */
export async function wakeRelays(db: Queryable, shards: Iterable<number>): Promise<void> {
  await wake(db, 'outbox', [...new Set(shards)].join(','))
}
