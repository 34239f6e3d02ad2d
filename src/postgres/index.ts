export { checkConnection, createPool } from './connect.ts'
export { migrate, migrationState, type Migration, type MigrationState } from './migrate.ts'
export type { Queryable, QueryResult, Row } from './queryable.ts'
export { transaction, type Transaction, type TransactionOptions } from './transaction.ts'
