import { plainArray } from '../postgres/array.ts'
import type { Pool } from '../postgres/pool.ts'

/** Which of these jobs, all of them executed here, somebody asked to cancel. */
export async function askedToCancel(pool: Pool, ids: readonly string[]): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `/* millrace:job-cancel-asked */ select id from millrace.job
     where id = any ($1::uuid[]) and cancel_asked`,
    [plainArray(ids)],
  )
  return rows.map(({ id }) => id)
}
