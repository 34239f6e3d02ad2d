import type { Core } from '../core/core.ts'
import type { Pool } from './pool.ts'
import { transaction, type Transaction, type TransactionOptions } from './transaction.ts'

/** Thrown to roll a transaction back on purpose. */
const ON_PURPOSE = new Error('this was only tried')

/**
 * Runs `action` in a transaction that is rolled back whatever it does; gives what it gave. For what is tried for real and
 * must leave nothing behind. Deferred constraints are not looked at unless `action` asks for it.
 * @throws what `action` throws, and E_DB_CONNECT.
 */
export async function rolledBack<T>(
  pool: Pool,
  core: Core,
  action: (tx: Transaction) => Promise<T>,
  options: Pick<TransactionOptions, 'timeoutMs'>,
): Promise<T> {
  let given: { readonly value: T } | undefined
  try {
    await transaction(
      pool,
      core,
      async (tx) => {
        given = { value: await action(tx) }
        throw ON_PURPOSE
      },
      options,
    )
  } catch (error) {
    if (error !== ON_PURPOSE) throw error
  }
  return (given as { readonly value: T }).value
}
