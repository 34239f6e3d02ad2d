import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { discardDeadLetters, seenSoFar } from '../../../src/dead-letter/order.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { job } from '../../../src/jobs/job.ts'
import { retryJobs } from '../../../src/jobs/retry.ts'
import { changeReplay, getReplay } from '../../../src/replay/order.ts'
import { settled } from '../../support/millrace.ts'
import { bed, counted, counts } from '../../support/replay.ts'
import { eventually } from '../../support/wait.ts'

describe('a replay of discarded jobs', () => {
  it('gives discarded jobs back to their queue, and parks those that are discarded again and again', async (t) => {
    let works = false
    const count = job('count', {
      args: z.object({ n: z.int() }),
      handle: ({ n }) => {
        if (!works || n === 2) throw permanent('no')
      },
    })
    const { operator, replay, pool, millrace, open } = await bed(
      t,
      4,
      () => false,
      () =>
        application('app', { floodBrake: false }).on(
          counted,
          toJob(count, ({ data }) => data),
        ),
    )
    assert.equal(await open(), 4)
    assert.deepEqual(counts(await replay({ dryRun: true })), {
      state: 'finished',
      passed: 0,
      failed: 0,
      skipped: 4,
      parked: 0,
    })
    works = true
    for (let round = 1; round <= 3; round += 1) {
      assert.equal((await replay()).passed, round === 1 ? 4n : 1n)
      await settled(millrace)
    }
    const { rows } = await pool.query(
      `select state, replays, count(*)::int as n from millrace.dead_letter group by 1, 2 order by 1`,
    )
    assert.deepEqual(rows, [
      { state: 'parked', replays: 3, n: 1 },
      { state: 'replayed', replays: 0, n: 3 },
    ])
    assert.equal((await replay()).total, 0n)
    assert.equal((await replay({ selection: { application: 'app', parked: true } })).total, 1n)
    await settled(millrace)
    const parked = { application: 'app', parked: true }
    const seen = await seenSoFar(pool)
    assert.equal(await discardDeadLetters(operator, parked, { reason: 'two', seen }), 1)
  })

  it('parks jobs as often as it says, and counts nothing that somebody retried', async (t) => {
    const count = job('count', {
      args: z.object({ n: z.int() }),
      handle: () => {
        throw permanent('no')
      },
    })
    const { operator, replay, pool, millrace } = await bed(
      t,
      1,
      () => false,
      () =>
        application('app', { floodBrake: false }).on(
          counted,
          toJob(count, ({ data }) => data),
        ),
    )
    const letter = async (): Promise<unknown> => {
      await settled(millrace)
      const { rows } = await pool.query('select state, replays from millrace.dead_letter')
      return rows[0]
    }
    const retry = async (): Promise<void> => {
      const { rows } = await pool.query<{ job_id: string }>(
        'select job_id from millrace.dead_letter',
      )
      const { changed } = await retryJobs(
        operator,
        rows.map(({ job_id: id }) => id),
      )
      assert.equal(changed.length, 1)
    }
    for (let round = 0; round < 4; round += 1) {
      await retry()
      assert.deepEqual(await letter(), { state: 'open', replays: 0 })
    }
    await replay({ maxReplays: 5 })
    assert.deepEqual(await letter(), { state: 'open', replays: 1 })
    await retry()
    assert.deepEqual(await letter(), { state: 'open', replays: 1 })
    await replay({ maxReplays: 2 })
    assert.deepEqual(await letter(), { state: 'parked', replays: 2 })
  })

  it('is no reason to discard what was discarded again since somebody looked', async (t) => {
    const count = job('count', {
      args: z.object({ n: z.int() }),
      handle: () => {
        throw permanent('no')
      },
    })
    const { operator, replay, pool, millrace, open } = await bed(
      t,
      3,
      () => false,
      () =>
        application('app', { floodBrake: false }).on(
          counted,
          toJob(count, ({ data }) => data),
        ),
    )
    const seen = await seenSoFar(pool)
    await replay({ selection: { application: 'app', ids: [1n] } })
    await settled(millrace)
    assert.equal(await open(), 3)
    const order = { reason: 'tests', seen }
    assert.equal(await discardDeadLetters(operator, { application: 'app' }, order), 2)
    assert.equal(await open(), 1)
  })

  it('waits behind a canary of jobs, for how they go is seen in their queue', async (t) => {
    let works = false
    const count = job('count', {
      args: z.object({ n: z.int() }),
      handle: () => {
        if (!works) throw permanent('no')
      },
    })
    const { operator, replay, open } = await bed(
      t,
      5,
      () => false,
      () =>
        application('app').on(
          counted,
          toJob(count, ({ data }) => data),
        ),
    )
    works = true
    const seen = await replay({ canary: 2 })
    assert.deepEqual([seen.state, seen.passed], ['paused', 2n])
    assert.match(String(seen.note), /2 jobs were given back to their queue as a canary/)
    await changeReplay(operator, seen.id, 'resume')
    await eventually(async () => (await getReplay(operator.pool, seen.id)).state === 'finished')
    assert.equal(await open(), 0)
  })
})
