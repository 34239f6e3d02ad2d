import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { discardDeadLetters, editDeadLetter, seenSoFar } from '../../../src/dead-letter/order.ts'
import { getDeadLetter } from '../../../src/dead-letter/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { job } from '../../../src/jobs/job.ts'
import { changeReplay, getReplay, orderReplay } from '../../../src/replay/order.ts'
import type { Replay } from '../../../src/replay/replay.ts'
import { holdAt } from '../../support/held.ts'
import { settled } from '../../support/millrace.ts'
import { bed, counted, counts, type Bed } from '../../support/replay.ts'
import { eventually } from '../../support/wait.ts'

const ended = ({ operator }: Bed, id: bigint): Promise<Replay> =>
  eventually(async () => {
    const now = await getReplay(operator.pool, id)
    return now.state === 'finished' ? now : undefined
  }) as Promise<Replay>

/** How many outcomes a replay has of dead letters from this number on. */
async function outcomesFrom(pool: pg.Pool, replay: bigint, from: bigint): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    `select count(*)::int as n from millrace.replay_outcome where replay_id = $1 and dead_letter_id >= $2`,
    [replay, from],
  )
  return rows[0]?.n ?? -1
}

/** The dead letters by number, with the number that each is of. */
async function lettersOf(pool: pg.Pool): Promise<{ id: bigint; n: number }[]> {
  const { rows } = await pool.query<{ id: string; n: number }>(
    `select id::text, (convert_from(value, 'UTF8')::json ->> 'n')::int as n from millrace.dead_letter order by id`,
  )
  return rows.map(({ id, n }) => ({ id: BigInt(id), n }))
}

describe('the end of a replay', () => {
  it('is where it was ordered: what fails while it is under way is left to the next one', async (t) => {
    const all = await bed(t, 60, () => true)
    const { deploy, replay, millrace, open, operator, pool } = all
    const [first] = await lettersOf(pool)
    deploy.bad = (n) => n === first?.n || n >= 1_000
    const seen = await replay({ rate: 200, canary: 20 })
    assert.equal(seen.state, 'paused')
    await millrace.publishMany(
      counted,
      Array.from({ length: 25 }, (_, n) => ({ n: 1_000 + n })),
    )
    await settled(millrace)
    assert.equal(await open(), 60 - Number(seen.passed) + 25)
    await changeReplay(operator, seen.id, 'resume')
    const { total, passed, failed, skipped, end } = await ended(all, seen.id)
    assert.deepEqual([total, passed, failed, skipped], [60n, 59n, 1n, 0n])
    assert.equal(await open(), 26)
    assert.equal(await outcomesFrom(pool, seen.id, end), 0)
    const { rows } = await pool.query(
      'select count(*)::int as n, max(replays) as replays from millrace.dead_letter where id >= $1',
      [end],
    )
    assert.deepEqual(rows, [{ n: 25, replays: 0 }])
    assert.equal((await replay()).total, 26n)
  })
})

describe('the rate of a replay', () => {
  it('is never exceeded, but for the chunk it begins with', async (t) => {
    const { deploy, replay, pool } = await bed(t, 60, () => true)
    deploy.bad = () => false
    const rate = 40
    const { id, passed } = await replay({ rate })
    assert.equal(passed, 60n)
    const { rows } = await pool.query<{ sofar: number; ms: number }>(
      `select (count(*) over (order by o.at))::int as sofar,
         (extract(epoch from o.at - r.started_at) * 1000)::float as ms
       from millrace.replay_outcome o join millrace.replay r on r.id = o.replay_id where r.id = $1`,
      [id],
    )
    assert.equal(rows.length, 60)
    for (const { sofar, ms } of rows) {
      // Two clocks, of which one may be set: a twentieth is theirs.
      const most = rate / 4 + ((rate * ms) / 1_000) * 1.05
      assert.ok(sofar <= most, `${sofar} after ${ms} ms, at most ${most} were allowed`)
    }
  })
})

describe('a share of failures', () => {
  it('ends a replay with the failure by which it is reached, and not one later', async (t) => {
    const { deploy, replay, done, open } = await bed(t, 200, () => true)
    const all = await replay({ stopShare: 0.5 })
    assert.deepEqual([all.state, all.passed, all.failed], ['stopped', 0n, 20n])
    // Those twenty fail again, and others after them: one of two of all that are tried.
    deploy.bad = (n) => n % 2 === 0
    const half = await replay({ stopShare: 0.4 })
    assert.equal(half.state, 'stopped')
    const tried = Number(half.passed + half.failed)
    assert.ok(Number(half.failed) / tried >= 0.4, `${half.failed} of ${tried}`)
    assert.ok(tried === 20 || (Number(half.failed) - 1) / (tried - 1) < 0.4, `${half.failed}`)
    assert.equal((await done()).length, Number(half.passed))
    assert.equal(await open(), 200 - Number(half.passed))
  })

  it('is judged of jobs as soon as it can be', async (t) => {
    const note = job('note', {
      args: z.object({ n: z.int() }),
      handle: () => {
        throw permanent('no')
      },
    })
    const { replay, pool, open } = await bed(
      t,
      60,
      () => false,
      () =>
        application('app', { floodBrake: false }).on(
          counted,
          toJob(note, ({ data }) => data),
        ),
    )
    assert.equal(await open(), 60)
    // Nobody can give back what is not there any more.
    await pool.query('delete from millrace.job_history')
    const seen = await replay({ stopShare: 0.5 })
    assert.deepEqual([seen.state, seen.passed, seen.failed], ['stopped', 0n, 20n])
  })
})

describe('a dead letter that changes under a replay', () => {
  it('is skipped when it was edited or discarded after it was read, and the edit is what the next replay hands over', async (t) => {
    const all = await bed(t, 4, () => true)
    const { deploy, operator, done, pool, replay } = all
    deploy.bad = () => false
    const held = holdAt(t, 'replay:read')
    const { id } = await orderReplay(operator, { selection: { application: 'app' } })
    await held.reached
    const [edited, discarded, ...others] = await lettersOf(pool)
    await editDeadLetter(operator, edited?.id ?? 0n, { value: Buffer.from('{"n":100}') })
    const ids = [discarded?.id ?? 0n]
    const order = { reason: 'tests', seen: await seenSoFar(pool) }
    assert.equal(await discardDeadLetters(operator, { application: 'app', ids }, order), 1)
    held.release()
    assert.deepEqual(counts(await ended(all, id)), {
      state: 'finished',
      passed: 2,
      failed: 0,
      skipped: 2,
      parked: 0,
    })
    const rest = others.map(({ n }) => n)
    assert.deepEqual(await done(), rest)
    const states = await Promise.all(
      [edited, discarded].map((one) => getDeadLetter(pool, one?.id ?? 0n)),
    )
    assert.deepEqual(
      states.map(({ state, revision, replays }) => [state, revision, replays]),
      [
        ['open', 1, 0],
        ['discarded', 0, 0],
      ],
    )
    assert.equal((await replay()).passed, 1n)
    assert.deepEqual(await done(), [...rest, 100])
  })

  it('is handled for one of two operators whose replays have both read it, and skipped for the other', async (t) => {
    const all = await bed(t, 40, () => true)
    const { deploy, done, operator, pool } = all
    deploy.bad = () => false
    const held = holdAt(t, 'replay:read', 2)
    const order = { selection: { application: 'app' } }
    const both = await Promise.all([orderReplay(operator, order), orderReplay(operator, order)])
    await held.reached
    held.release()
    const seen = await Promise.all(both.map(({ id }) => ended(all, id)))
    assert.equal((await done()).length, 40)
    assert.deepEqual(
      seen.map(({ passed }) => Number(passed)).sort((a, b) => a - b),
      [0, 40],
    )
    assert.deepEqual(
      seen.map(({ skipped }) => Number(skipped)).sort((a, b) => a - b),
      [0, 40],
    )
    const { rows } = await pool.query('select action from millrace.operator_action')
    assert.equal(rows.length, 2)
  })
})
