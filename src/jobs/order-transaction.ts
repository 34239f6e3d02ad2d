import type { Core } from '../core/core.ts'
import type { Pool } from '../postgres/pool.ts'
import { retryConflicts } from '../postgres/retry-conflicts.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'
import { withHistoryDays } from './history-days.ts'

/**
 * A transaction for an operator's order. It locks jobs in the order of its own; workers lock those of a batch in the order
 * in which they find them, so the two may wait for each other in a circle until PostgreSQL ends one. Then, and when there
 * is no day of history to write to, the whole of it is repeated; `action` is called again.
 */
export async function orderTransaction<T>(
  parts: { readonly core: Core; readonly pool: Pool },
  action: (tx: Transaction) => Promise<T>,
): Promise<T> {
  const { core, pool } = parts
  return retryConflicts(core, () => withHistoryDays(parts, () => transaction(pool, core, action)))
}
