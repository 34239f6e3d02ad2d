import assert from 'node:assert/strict'
import test from 'node:test'
import { changeReplay, getReplay } from '../../src/replay/order.ts'
import { eventually } from '../support/wait.ts'
import { REPLAY_FAILPOINTS, type Trap } from './failpoints.ts'
import { assertReplayed, COUNT, doneNumbers, letters, replayBed } from './replay-bed.ts'
import { SUBJECTS } from './replay-records.ts'

/**
 * What a process says whose chunk was refused: by the fence of the replay, by that of the partition, or by the server, which
 * ends a transaction in which nothing happens for too long.
 */
const REFUSED =
  /an operator holds it|moved on by another process in partition|a replay failed; it is taken up again|terminating connection due to idle-in-transaction/

test('handles everything once when the process that replays is killed', {
  concurrency: 3,
}, async (t) => {
  await Promise.all(
    SUBJECTS.flatMap((subject) =>
      REPLAY_FAILPOINTS.map((name) =>
        t.test(`${subject}, at ${name}`, async (inner) => {
          const it = await replayBed(inner, subject)
          const first = await it.worker({ name, count: 2, signal: 'SIGKILL' })
          const id = await it.order()
          await first.waitFor('trap', { timeoutMs: 60_000 })
          await first.exited
          const { state, passed } = await getReplay(it.pool, id)
          assert.equal(state, 'running')
          assert.ok(passed < BigInt(COUNT - 3), `${passed} had passed: it was killed too late`)
          await it.worker()
          await assertReplayed(it, await it.ended(id))
        }),
      ),
    ),
  )
})

test('handles everything once when the process that replays is stopped, and goes on after another took over', {
  concurrency: 3,
}, async (t) => {
  await Promise.all(
    SUBJECTS.map((subject) =>
      t.test(subject, async (inner) => {
        const it = await replayBed(inner, subject)
        const trap: Trap = { name: 'replay:before-outcomes', count: 2, signal: 'SIGSTOP' }
        const first = await it.worker(trap)
        const id = await it.order()
        await first.waitFor('trap', { timeoutMs: 60_000 })
        await it.worker()
        const replay = await it.ended(id)
        first.kill('SIGCONT')
        await eventually(() => REFUSED.test(first.output))
        await assertReplayed(it, replay)
      }),
    ),
  )
})

test('writes nothing when a dry run is killed', async (t) => {
  const it = await replayBed(t, 'letters')
  const first = await it.worker({ name: 'replay:before-commit', count: 2, signal: 'SIGKILL' })
  const id = await it.order({ dryRun: true })
  await first.waitFor('trap', { timeoutMs: 60_000 })
  await first.exited
  await it.worker()
  const { passed, failed } = await it.ended(id)
  assert.deepEqual([passed, failed], [BigInt(COUNT - 3), 3n])
  assert.deepEqual(await doneNumbers(it.pool), [])
  assert.ok(
    (await letters(it.pool)).every(({ state, replays }) => state === 'open' && replays === 0),
  )
})

for (const change of ['pause', 'abort'] as const) {
  test(`commits nothing of a chunk in the middle of which an operator orders to ${change}`, {
    concurrency: 3,
  }, async (t) => {
    await Promise.all(
      SUBJECTS.map((subject) =>
        t.test(subject, async (inner) => {
          const it = await replayBed(inner, subject)
          const trap: Trap = { name: 'replay:before-outcomes', count: 2, signal: 'block' }
          const first = await it.worker({ ...trap, blockMs: 400 })
          const id = await it.order()
          await first.waitFor('trap', { timeoutMs: 60_000 })
          const { passed, failed } = await changeReplay(it.operator, id, change)
          await eventually(() => REFUSED.test(first.output))
          const after = await getReplay(it.pool, id)
          assert.deepEqual([after.passed, after.failed], [passed, failed])
          assert.ok(passed > 0n && passed < BigInt(COUNT - 3), String(passed))
          if (change === 'pause') {
            await changeReplay(it.operator, id, 'resume')
            await assertReplayed(it, await it.ended(id))
            return
          }
          // What another replay finds is what that one has left.
          const rest = await it.ended(await it.order())
          if (subject === 'records') assert.equal(rest.passed, BigInt(COUNT - 3))
          else assert.equal(rest.total, BigInt(COUNT) - passed)
          const { state, passed: still } = await getReplay(it.pool, id)
          assert.deepEqual([state, still], ['aborted', passed])
          const times = await doneNumbers(it.pool)
          const again = subject === 'records' ? Number(passed) : 0
          assert.equal(times.length, COUNT - 3 + again)
        }),
      ),
    )
  })
}
