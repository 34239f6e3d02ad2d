import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { writeDeadLetters } from '../../../src/dead-letter/dead-letter.ts'
import { event } from '../../../src/events/event.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter, recordOf } from '../../support/dead-letters.ts'
import { running } from '../../support/millrace.ts'
import { cliIn, type Cli } from './run-cli.ts'

const COUNT = 1_300
const sold = event('SOLD', {
  source: 'TEST',
  topic: 'sales',
  schema: z.object({ n: z.int(), currency: z.string() }),
})
/** Where pages of 500 hold many, few and none. */
const isPound = (n: number): boolean => n < 600 && n % 3 === 0
const POUNDS = Array.from({ length: COUNT }, (_, n) => n).filter(isPound)

/** Dead letters of 1,300 sales, and code that can handle them. */
async function mended(t: TestContext): Promise<Cli & { pool: pg.Pool; done(): Promise<number[]> }> {
  const { url, pool } = await testDatabase(t)
  await pool.query('create table done (seq bigserial, n int)')
  const producer = await running(t, { database: url, topics: { sales: { partitions: 1 } } })
  await producer.publishMany(
    sold,
    Array.from({ length: COUNT }, (_, n) => ({ n, currency: isPound(n) ? 'GBP' : 'EUR' })),
  )
  await pool.query(
    `insert into millrace.dead_letter (application, handler, stage, topic, topic_id, partition, "offset", generation,
       record_timestamp, key, value, headers, error, attempts)
     select 'search', '*', 'apply', 'sales', topic_id, partition, "offset", 0, timestamp, key, value, headers,
       json_build_object('class', 'Error', 'message',
         case when convert_from(value, 'utf8')::json ->> 'n' = '7' then 'it is the seventh' else 'it is refused' end), 1
     from millrace.record order by "offset"`,
  )
  const app = application('search', { start: 'end' }).on(
    sold,
    inTransaction(
      async ({ data }, { tx }) =>
        void (await tx.query('insert into done (n) values ($1)', [data.n])),
    ),
  )
  await running(t, { database: url, run: [app] })
  return {
    ...(await cliIn(t, url)),
    pool,
    async done() {
      const { rows } = await pool.query<{ n: number }>('select n from done order by seq')
      return rows.map(({ n }) => n)
    },
  }
}

async function states(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ state: string; n: number }>(
    'select state, count(*)::int as n from millrace.dead_letter group by 1',
  )
  return Object.fromEntries(rows.map(({ state, n }) => [state, n]))
}

describe('by what dead letters carry and say', () => {
  it('they are replayed: those that search finds, in order, and no others', async (t) => {
    const cli = await mended(t)
    const gbp = ['--app', 'search', '--where', 'data.currency=GBP']
    const tried = await cli.run(['dlq', 'replay', ...gbp, '--dry-run', '--json'])
    assert.equal(tried.code, 0, tried.stderr)
    assert.match(tried.stderr, new RegExp(`replay 1: ${POUNDS.length} dead letters, as a dry run`))
    const { passed, total } = JSON.parse(tried.stdout) as Record<string, string>
    assert.deepEqual([passed, total], [String(POUNDS.length), String(POUNDS.length)])
    assert.deepEqual(await cli.done(), [])

    const replay = ['dlq', 'replay', ...gbp, '--canary', '7', '--yes', '--reason', 'the pound']
    const done = await cli.run(replay)
    assert.equal(done.code, 0, done.stderr)
    assert.deepEqual(await cli.done(), POUNDS)
    assert.deepEqual(await states(cli.pool), {
      open: COUNT - POUNDS.length,
      replayed: POUNDS.length,
    })
    const { rows } = await cli.pool.query<{ filter: Record<string, unknown>; count: string }>(
      `select filter, count from millrace.operator_action where action = 'dlq.replay'`,
    )
    assert.deepEqual(
      rows.map(({ filter, count }) => [filter['where'], count]),
      [['data.currency=GBP', String(POUNDS.length)]],
    )

    const said = await cli.run(['dlq', 'replay', '--app', 'search', '--text', 'SEVENTH'])
    assert.equal(said.code, 0, said.stderr)
    assert.deepEqual(await cli.done(), [...POUNDS, 7])
    const none = await cli.run(['dlq', 'replay', ...gbp])
    assert.match(none.stderr, /nothing to replay/)
  })

  it('they are discarded: those that search finds, and no others', async (t) => {
    const { url, pool } = await testDatabase(t)
    const cli = await cliIn(t, url)
    await writeDeadLetters(pool, [
      ...Array.from({ length: 1_200 }, (_, n) => deadLetter(n)),
      deadLetter(1_200, { record: recordOf('{"orderId":"o-7"}', 'k', { tenant: 'old' }) }),
      deadLetter(1_201, { record: recordOf('no JSON', 'k', { tenant: 'old' }) }),
      deadLetter(1_202, { application: 'search', record: recordOf('{"orderId":"o-7"}') }),
    ])
    const discard = (...args: string[]): ReturnType<typeof cli.run> =>
      cli.run(['dlq', 'discard', '--app', 'billing', '--json', ...args])
    const seventh = ['--where', 'data.orderId=o-7']
    const tried = await discard(...seventh, '--dry-run')
    assert.deepEqual(JSON.parse(tried.stdout), { dryRun: true, count: 2, discarded: 0 })
    assert.deepEqual(await states(pool), { open: 1_203 })
    const done = await discard(...seventh, '--reason', 'test data')
    assert.deepEqual(JSON.parse(done.stdout), { dryRun: false, count: 2, discarded: 2 })
    const old = await discard('--where', 'header.tenant=old', '--reason', 'an old tenant')
    assert.deepEqual(JSON.parse(old.stdout), { dryRun: false, count: 1, discarded: 1 })
    const { rows } = await pool.query<{ offset: string }>(
      `select "offset" from millrace.dead_letter where state = 'discarded' order by id`,
    )
    assert.deepEqual(
      rows.map(({ offset }) => offset),
      ['7', '1200', '1201'],
    )
    const { rows: audit } = await pool.query<{ n: number; where: string }>(
      `select sum(count)::int as n, filter ->> 'where' as where from millrace.operator_action group by 2 order by 1`,
    )
    assert.deepEqual(audit, [
      { n: 1, where: 'header.tenant=old' },
      { n: 2, where: 'data.orderId=o-7' },
    ])
    const wrong = await discard('--where', 'currency=GBP', '--reason', 'x')
    assert.equal(wrong.code, 2)
    assert.match(wrong.stderr, /--where: expected a place/)
  })
})
