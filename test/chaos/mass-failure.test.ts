import assert from 'node:assert/strict'
import test from 'node:test'
import { massFailure } from '../../bench/dead-letters/mass-failure.ts'
import { testDatabase } from '../support/database.ts'

/** `npm run bench -- dead-letters` does the same with 200,000. */
const COUNT = 40_000
const BAD = [3, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000]

test('works a mass failure off: dead-lettered, grouped, tried, replayed over a kill, and seven left that are truly bad', async (t) => {
  const { url, pool } = await testDatabase(t)
  const seen = await massFailure({
    databaseUrl: url,
    count: COUNT,
    bad: new Set(BAD),
    note: (text) => t.diagnostic(text),
  })
  assert.equal(seen.kills, 1)
  assert.equal(seen.groups, 1)
  const good = BigInt(COUNT - BAD.length)
  const counts = ({ state, passed, failed, skipped }: typeof seen.replay): unknown[] => [
    state,
    passed,
    failed,
    skipped,
  ]
  assert.deepEqual(counts(seen.dryRun), ['finished', good, 7n, 0n])
  assert.deepEqual(counts(seen.replay), ['finished', good, 7n, 0n])

  const { rows: states } = await pool.query(
    `select state, replays, count(*)::int as n from millrace.dead_letter
     where application = 'billing' group by 1, 2 order by 1`,
  )
  assert.deepEqual(states, [
    { state: 'open', replays: 1, n: BAD.length },
    { state: 'replayed', replays: 0, n: COUNT - BAD.length },
  ])
  const { rows: left } = await pool.query<{ n: number }>(
    `select (convert_from(value, 'utf8')::json ->> 'n')::int as n from millrace.dead_letter
     where application = 'billing' and state = 'open' order by 1`,
  )
  assert.deepEqual(
    left.map(({ n }) => n),
    BAD,
  )
  // None lost, none twice; and in order per household.
  const { rows: ledger } = await pool.query(
    `select count(*)::int as n, count(distinct n)::int as numbers,
       count(*) filter (where before > n)::int as overtaken
     from (select n, lag(n) over (partition by household order by place) as before from ledger
       where app = 'billing') l`,
  )
  assert.deepEqual(ledger, [{ n: COUNT - BAD.length, numbers: COUNT - BAD.length, overtaken: 0 }])
})
