/** The driver's own types, for rooms that take a pool but never make one. */
export type { Pool, PoolClient } from 'pg'
