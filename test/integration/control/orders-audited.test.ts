import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { OperatorActionName } from '../../../src/control/operator-action.ts'
import { ORDERS, type Bed } from '../../support/operator-orders.ts'
import { spawnNode } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'
import type { OrderingConfig } from './ordering-process.ts'

const ACTIONS = Object.keys(ORDERS) as OperatorActionName[]

/** What stands in every table, by table: equal when no row has changed. */
async function contents({ pool }: Bed): Promise<Record<string, string>> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select tablename as name from pg_tables where schemaname = 'millrace' order by 1`,
  )
  const found: Record<string, string> = {}
  for (const { name } of tables) {
    const { rows } = await pool.query<{ hash: string }>(
      `select count(*) || ' ' || md5(coalesce(string_agg(t::text, ' ' order by t::text), '')) as hash from millrace.${name} t`,
    )
    found[name] = rows[0]?.hash ?? ''
  }
  return found
}

/**
 * Has a process of its own give the order, which is killed when all is written and nothing committed, and waits until the
 * server has noticed.
 */
async function giveKilled(
  t: TestContext,
  { url, pool }: Bed,
  action: OperatorActionName,
): Promise<void> {
  const named = new URL(url)
  named.searchParams.set('application_name', 'ordering')
  const config: OrderingConfig = { url: named.href, action, at: 'transaction:before-commit' }
  const ordering = spawnNode(t, new URL('./ordering-process.ts', import.meta.url), {
    env: { ORDERING: JSON.stringify(config) },
  })
  await ordering.waitFor('trap', { timeoutMs: 60_000 })
  assert.equal((await ordering.exited).signal, 'SIGKILL')
  await eventually(async () => {
    const { rows } = await pool.query(
      `select from pg_stat_activity where datname = current_database() and application_name = 'ordering'`,
    )
    return rows.length === 0
  })
}

describe('an order of an operator', { concurrency: 3 }, () => {
  for (const action of ACTIONS) {
    it(`is not carried out where its row of the audit cannot be written or who gives it is killed, and leaves exactly one: ${action}`, async (t) => {
      const { arrange, give, row } = ORDERS[action]
      const bed = await arrange(t)
      const { pool, operator } = bed
      await pool.query(
        `truncate millrace.operator_action;
         create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no audit today'; end $$;
         create trigger refused before insert on millrace.operator_action for each row execute function refuse()`,
      )
      const before = await contents(bed)
      await assert.rejects(give(operator), /no audit today/)
      assert.deepEqual(await contents(bed), before)

      await pool.query('drop trigger refused on millrace.operator_action')
      await giveKilled(t, bed, action)
      assert.deepEqual(await contents(bed), before)

      await give(operator)
      const { operator_action: _, ...after } = await contents(bed)
      const { operator_action: __, ...rest } = before
      assert.notDeepEqual(after, rest)
      const { rows } = await pool.query(
        'select operator, action, filter, count::int as count, reason from millrace.operator_action',
      )
      assert.deepEqual(rows, [{ operator: 'ana@test', action, ...row }])
    })
  }
})
