import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'

const SEGMENTS = 3
/** Bytes of a segment above which the next one is begun at once. */
const FULL_BYTES = 16 * 1_048_576
/**
 * How long to wait for a segment's lock. A transaction that wrote to it and is still open is not waited for: whoever reads
 * the outbox queues up behind us.
 */
const LOCK_MS = 50
const LOCK_TIMEOUT = '55P03'

/** What {@link prune} works with. */
export interface PruneParts {
  readonly core: Core
  readonly pool: Pool
}

/**
 * Empties segments that hold nothing but what is known to be in the log, and begins the next segment where that makes sense:
 * when the one written to is full, or when `rotate` says that it is time.
 *
 * Several may do this at once, and at any moment: under the lock, which no writer of that segment outlives, it is looked at
 * again whether everything in it is relayed. A writer that chose its segment before the turn and writes after the emptying
 * does no harm: its records are read from wherever they are.
 */
export async function prune(
  parts: PruneParts,
  { rotate }: { readonly rotate: boolean },
): Promise<void> {
  const { pool } = parts
  const { rows } = await pool.query<{ current: string; bytes: string[] }>(
    `/* millrace:outbox-segments */ select pg_sequence_last_value('millrace.outbox_segment')::text as current,
       array(select pg_relation_size(('millrace.outbox_record_' || i)::regclass)::text
         from generate_series(0, ${SEGMENTS - 1}) i order by i) as bytes`,
  )
  const { current, bytes } = rows[0] as { current: string; bytes: string[] }
  const turn = Number(current)
  const sizeOf = (segment: number): number => Number(bytes[segment % SEGMENTS])
  const emptied = new Set<number>()
  for (const segment of [turn + 1, turn + 2]) {
    if (sizeOf(segment) === 0 || (await empty(parts, segment % SEGMENTS))) emptied.add(segment)
  }
  const size = sizeOf(turn)
  if (!emptied.has(turn + 1) || size === 0 || (size < FULL_BYTES && !rotate)) return
  await pool.query(
    `/* millrace:outbox-rotate */ select setval('millrace.outbox_segment', $1::bigint)
     where pg_sequence_last_value('millrace.outbox_segment') = $1::bigint - 1`,
    [turn + 1],
  )
  await failpoint('outbox:rotated')
}

/** Gives whether the segment is empty now. */
async function empty({ core, pool }: PruneParts, segment: number): Promise<boolean> {
  const table = `millrace.outbox_record_${segment}`
  // Cheap, and mostly the answer: without a lock.
  if (await holdsUnrelayed(pool, table)) return false
  try {
    return await transaction(pool, core, async (tx) => {
      await tx.query(`/* millrace:lock-timeout */ set local lock_timeout = ${LOCK_MS}`)
      await tx.query(`/* millrace:outbox-lock */ lock table ${table} in access exclusive mode`)
      if (await holdsUnrelayed(tx, table)) return false
      await failpoint('outbox:before-empty')
      await tx.query(`/* millrace:outbox-empty */ truncate table ${table}`)
      return true
    })
  } catch (error) {
    if ((error as { code?: unknown }).code !== LOCK_TIMEOUT) throw error
    core.logger.debug({ segment }, 'a segment of the outbox is still in use')
    return false
  }
}

async function holdsUnrelayed(db: Pool | Transaction, table: string): Promise<boolean> {
  const { rows } = await (db as Transaction).query<{ left: boolean }>(
    `/* millrace:outbox-unrelayed */ select exists (
       select from millrace.outbox_shard s
       where exists (select from ${table} r where r.shard = s.shard and r."offset" > coalesce(s.relayed, 0))
     ) as left`,
  )
  return rows[0]?.left ?? true
}
