import assert from 'node:assert/strict'
import test from 'node:test'
import { connectOperator } from '../../src/app/operator.ts'
import { getReplay, orderReplay } from '../../src/replay/order.ts'
import { cleanup } from '../support/cleanup.ts'
import { assertOnce, assertReplayed, madeNumbers, letters, MANY, replayBed } from './replay-bed.ts'

/** As many of the same for two who fight over them: what they do is no other thing with more. */
const SHARED = { ...MANY, count: 20_000 }
const CHUNKS = MANY.count / MANY.batchRecords
/** Far above what it takes, also where others are at work. */
const LIMIT_MS = 280_000
const BAD = BigInt(MANY.count / MANY.badEvery)

test('handles each of 100,000 dead letters once when the process that replays is killed half-way', {
  timeout: 900_000,
}, async (t) => {
  const it = await replayBed(t, 'made-jobs', { scale: MANY })
  // It has read the chunk that begins behind the first half, and nothing of it is done.
  const first = await it.worker({ name: 'replay:read', count: CHUNKS / 2 + 1, signal: 'SIGKILL' })
  const id = await it.order()
  await first.waitFor('trap', { timeoutMs: LIMIT_MS })
  await first.exited
  const atKill = await getReplay(it.pool, id)
  assert.equal(atKill.state, 'running')
  assert.equal(atKill.passed + atKill.failed, BigInt(MANY.count / 2))
  await it.worker()
  await assertReplayed(it, await it.ended(id, LIMIT_MS))
  // The whole is the sum of its items, and once more adds none.
  const again = await it.ended(await it.order(), LIMIT_MS)
  assert.deepEqual([again.total, again.passed, again.failed], [BAD, 0n, BAD])
  assertOnce(await madeNumbers(it.pool), MANY)
})

test('handles each of 20,000 dead letters for one of two operators who replay them all at once', {
  timeout: 900_000,
}, async (t) => {
  const it = await replayBed(t, 'made-jobs', { scale: SHARED })
  const bo = await connectOperator({ database: it.url, user: 'bo@test' })
  cleanup(t, () => bo.close())
  await Promise.all([it.worker(), it.worker()])
  const selection = { application: 'app' }
  const ordered = await Promise.all([
    orderReplay(it.operator, { selection, reason: 'fixed' }),
    orderReplay(bo, { selection, reason: 'fixed too' }),
  ])
  const replays = await Promise.all(ordered.map(({ id }) => it.ended(id, LIMIT_MS)))
  t.diagnostic(
    replays.map(({ passed, skipped }) => `${passed} passed, ${skipped} skipped`).join('; '),
  )
  assertOnce(await madeNumbers(it.pool), SHARED)
  const { rows: outcomes } = await it.pool.query<{ outcomes: string; letters: number }>(
    `select outcomes, count(*)::int as letters from (
       select string_agg(outcome, ' ' order by outcome) as outcomes from millrace.replay_outcome group by dead_letter_id
     ) o group by 1 order by 1`,
  )
  // What the other has closed before it is read is left out without a word; what both have read is skipped by one.
  const bad = SHARED.count / SHARED.badEvery
  const good = SHARED.count - bad
  assert.deepEqual(
    outcomes.filter(({ outcomes: of }) => !of.startsWith('passed')),
    [{ outcomes: 'failed failed', letters: bad }],
  )
  const passed = outcomes.filter(({ outcomes: of }) => of === 'passed' || of === 'passed skipped')
  assert.equal(outcomes.length, passed.length + 1)
  assert.equal(
    passed.reduce((sum, one) => sum + one.letters, 0),
    good,
  )
  assert.equal(
    replays.reduce((sum, replay) => sum + replay.passed, 0n),
    BigInt(good),
  )
  const left = (await letters(it.pool)).filter(({ state }) => state !== 'replayed')
  assert.deepEqual(
    left,
    Array.from({ length: bad }, () => ({ state: 'open', replays: 2, generation: 0 })),
  )
  const { rows: audit } = await it.pool.query(
    `select operator, action, count::int as count, reason from millrace.operator_action order by operator`,
  )
  assert.deepEqual(audit, [
    { operator: 'ana@test', action: 'dlq.replay', count: SHARED.count, reason: 'fixed' },
    { operator: 'bo@test', action: 'dlq.replay', count: SHARED.count, reason: 'fixed too' },
  ])
})
