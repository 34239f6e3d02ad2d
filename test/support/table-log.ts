import pg from 'pg'
import { createCore } from '../../src/core/core.ts'
import { TableLog } from '../../src/log/table-log.ts'
import type { Harness } from '../conformance/log/harness.ts'
import { testDatabase, type TestScope } from './database.ts'

/** Transactions that tests hold open at once. */
const maxTransactions = 20

/** A table log on a database of its own, with its pool. */
export async function tableLogHarness(
  t: TestScope,
): Promise<Harness & { readonly pool: pg.Pool; readonly url: string; readonly log: TableLog }> {
  const last: (() => Promise<void>)[] = []
  const { pool, url } = await testDatabase({ after: (action) => last.push(action) })
  const transactions = new pg.Pool({ connectionString: url, max: maxTransactions })
  transactions.on('error', () => {
    // A test may end the server's sessions.
  })
  const core = createCore()
  const log = new TableLog({ core, pool })
  const peer = new TableLog({ core, pool })
  const open = new Set<pg.PoolClient>()
  t.after(async () => {
    await log.close()
    await peer.close()
    // What a failed test has left open.
    for (const client of open) client.release(true)
    await transactions.end()
    for (const action of last) await action()
  })
  return {
    log,
    peer,
    pool,
    url,
    async begin() {
      const client = await transactions.connect()
      open.add(client)
      await client.query('begin')
      const end = async (how: 'commit' | 'rollback'): Promise<void> => {
        await client.query(how)
        open.delete(client)
        client.release()
      }
      return {
        append: (records) => log.append(records, { tx: client }),
        commit: () => end('commit'),
        rollback: () => end('rollback'),
      }
    },
  }
}
