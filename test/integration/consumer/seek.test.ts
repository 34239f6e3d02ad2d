import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application, type StartPosition } from '../../../src/consumer/application.ts'
import {
  planSeek,
  seekConsumers,
  type PositionMove,
  type SeekPlan,
} from '../../../src/consumer/queries.ts'
import { setFailpointHandler } from '../../../src/core/failpoint.ts'
import { BOTH_LOGS } from '../../support/both-logs.ts'
import { loseTail, recreateTopic } from '../../support/log-damage.ts'
import { numbers, operated, type Operated } from '../../support/operating.ts'
import { eventually } from '../../support/wait.ts'

const scopeOf = ({ topic }: Operated) => ({ application: 'app', topic }) as const

const planned = (all: Operated, target: StartPosition): Promise<SeekPlan> =>
  planSeek(all.operator, scopeOf(all), target)

async function seek(
  all: Operated,
  target: StartPosition,
): Promise<Pick<SeekPlan, 'moves' | 'refused'>> {
  return seekConsumers(all.operator, await planned(all, target), { reason: 'because' })
}

const shown = ({ position, to, reread, skipped }: PositionMove): bigint[] => [
  position,
  to,
  reread,
  skipped,
]
const ns = (from: number, to: number): number[] => numbers(from, to).map(({ n }) => n)

/** Stops whoever comes to a failpoint first, until `release`. */
function gateAt(name: string): { readonly reached: Promise<void>; release(): void } {
  const reached = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  let first = true
  setFailpointHandler(async (point) => {
    if (point !== name || !first) return
    first = false
    reached.resolve()
    await released.promise
  })
  return { reached: reached.promise, release: () => released.resolve() }
}

for (const testedLog of BOTH_LOGS) {
  describe(`a seek on ${testedLog.name}`, () => {
    afterEach(() => setFailpointHandler(undefined))

    it('back makes new jobs of what is read again while the application runs', async (t) => {
      const all = await operated(t, 1, testedLog)
      const { start, done, jobs, caughtUp, pool } = all
      await start()
      await caughtUp()
      const { moves } = await seek(all, { offset: 2n })
      assert.deepEqual(moves.map(shown), [[5n, 2n, 3n, 0n]])
      await eventually(async () => (await done()).length === 8)
      await caughtUp()
      assert.deepEqual(
        (await done()).slice(5),
        ns(2, 5).map((n) => ({ n, generation: 1 })),
      )
      assert.deepEqual(await jobs(), ['0/0', '1/0', '2/0', '2/1', '3/0', '3/1', '4/0', '4/1'])
      const { rows } = await pool.query(
        'select operator, action, filter, count::int as count, reason, detail from millrace.operator_action',
      )
      assert.deepEqual(rows, [
        {
          operator: 'ana@test',
          action: 'consumers.seek',
          filter: { ...scopeOf(all), to: { offset: '2' } },
          count: 1,
          reason: 'because',
          detail: [
            {
              topic: all.topic,
              topicId: all.topicId,
              partition: 0,
              generation: 0,
              position: '5',
              to: '2',
              reread: '3',
              skipped: '0',
            },
          ],
        },
      ])
    })

    it('ahead leaves out what it skips, also while the application is stopped', async (t) => {
      const all = await operated(t, 1, testedLog)
      const other = await all.start({ app: all.counting('other') })
      await other.millrace.publishMany(all.counted, numbers(5, 10))
      await all.caughtUp('other')
      const { moves } = await seek(all, { offset: 8n })
      assert.deepEqual(moves.map(shown), [[5n, 8n, 0n, 3n]])
      await all.start()
      await all.caughtUp()
      assert.deepEqual(await all.done(), [
        ...ns(0, 5).map((n) => ({ n, generation: 0 })),
        ...ns(8, 10).map((n) => ({ n, generation: 1 })),
      ])
    })

    it('goes to the beginning, the end, a time, or the nearer end of the log', async (t) => {
      const all = await operated(t, 1, testedLog)
      const other = await all.start({ app: all.counting('other') })
      // Kafka takes nothing that is further ahead than an hour.
      const soon = (minutes: number): Date => new Date(Date.now() + minutes * 60_000)
      await other.millrace.publish(all.counted, { n: 5 }, { time: soon(40) })
      await all.caughtUp('other')
      await all.log.purge(all.topicId, 0, 1n)
      const plan = async (target: StartPosition): Promise<bigint[][]> =>
        (await planned(all, target)).moves.map(shown)
      assert.deepEqual(await plan('beginning'), [[5n, 1n, 4n, 0n]])
      assert.deepEqual(await plan('end'), [[5n, 6n, 0n, 1n]])
      assert.deepEqual(await plan({ time: soon(20) }), [[5n, 5n, 0n, 0n]])
      assert.deepEqual(await plan({ time: new Date('2000-01-01T00:00:00Z') }), [[5n, 1n, 4n, 0n]])
      assert.deepEqual(await plan({ offset: 0n }), [[5n, 1n, 4n, 0n]])
      assert.deepEqual(await plan({ offset: 99n }), [[5n, 6n, 0n, 1n]])
      const { rows } = await all.pool.query(
        'select next_offset, generation from millrace.position where application = $1',
        ['app'],
      )
      assert.deepEqual(rows, [{ next_offset: '5', generation: 0 }])
    })

    it('changes nothing, not even the generation, where the position is already', async (t) => {
      const all = await operated(t, 1, testedLog)
      assert.deepEqual((await seek(all, 'end')).moves.map(shown), [[5n, 5n, 0n, 0n]])
      const { rows } = await all.pool.query('select generation, epoch from millrace.position')
      assert.equal(rows[0]?.generation, 0)
      assert.equal((await all.pool.query('select from millrace.operator_action')).rowCount, 0)
    })

    it('rolls a batch back that comes to its position after it', async (t) => {
      const all = await operated(t, 1, testedLog)
      const { millrace, lines } = await all.start()
      const gate = gateAt('batch:before-position')
      await millrace.publishMany(all.counted, numbers(5, 8))
      await gate.reached
      await seek(all, { offset: 4n })
      gate.release()
      await eventually(async () => (await all.done()).length === 9)
      await all.caughtUp()
      assert.deepEqual(
        (await all.done()).slice(5),
        ns(4, 8).map((n) => ({ n, generation: 1 })),
      )
      assert.deepEqual(
        (await all.jobs()).filter((job) => /^[567]/.test(job)),
        ['5/1', '6/1', '7/1'],
      )
      await eventually(() =>
        lines.some(({ message }) => /was rolled back|belongs to another process now/.test(message)),
      )
    })

    it('waits for a batch that has its position, and moves it from where the batch has left it', async (t) => {
      const all = await operated(t, 1, testedLog)
      const { millrace } = await all.start()
      const gate = gateAt('batch:before-commit')
      await millrace.publishMany(all.counted, numbers(5, 8))
      await gate.reached
      const plan = await planned(all, { offset: 4n })
      assert.deepEqual(plan.moves.map(shown), [[5n, 4n, 1n, 0n]])
      const seeking = seekConsumers(all.operator, plan)
      await eventually(
        async () =>
          (
            await all.pool.query(
              `select from pg_stat_activity where wait_event_type = 'Lock' and query like '%position-scope%'`,
            )
          ).rowCount === 1,
      )
      gate.release()
      assert.deepEqual((await seeking).moves.map(shown), [[8n, 4n, 4n, 0n]])
      await eventually(async () => (await all.done()).length === 12)
      await all.caughtUp()
      assert.deepEqual((await all.done()).slice(5), [
        ...ns(5, 8).map((n) => ({ n, generation: 0 })),
        ...ns(4, 8).map((n) => ({ n, generation: 1 })),
      ])
    })

    it('ahead is refused when the application has read past its target meanwhile', async (t) => {
      const all = await operated(t, 1, testedLog)
      const other = await all.start({ app: all.counting('other') })
      await other.millrace.publishMany(all.counted, numbers(5, 10))
      await all.caughtUp('other')
      const plan = await planned(all, { offset: 7n })
      await all.start()
      await all.caughtUp()
      await assert.rejects(seekConsumers(all.operator, plan), (error: Error & { code: string }) => {
        assert.equal(error.code, 'E_CONSUMER_STATE')
        assert.match(error.message, /numbers[^ ]*\/0: it was read up to 10 meanwhile/)
        return true
      })
      assert.equal((await all.done()).length, 10)
    })

    it('is refused when another operator has moved the position meanwhile', async (t) => {
      const all = await operated(t, 1, testedLog)
      const plan = await planned(all, 'beginning')
      await seek(all, { offset: 3n })
      await assert.rejects(seekConsumers(all.operator, plan), /somebody else moved it meanwhile/)
      const { rows } = await all.pool.query('select next_offset, generation from millrace.position')
      assert.deepEqual(rows, [{ next_offset: '3', generation: 1 }])
    })

    it('ahead frees a partition that waits for a record which fails again and again', async (t) => {
      const all = await operated(t, 1, testedLog)
      const stubborn = application('app', { maxAttempts: 1_000 }).on(
        all.counted,
        inTransaction(async ({ data }, { tx, generation }) => {
          if (data.n === 6) throw new Error('not today')
          await tx.query(`insert into done (app, n, generation) values ('app', $1, $2)`, [
            data.n,
            generation,
          ])
        }),
      )
      const { millrace, lines } = await all.start({ app: stubborn })
      await millrace.publishMany(all.counted, numbers(5, 9))
      await eventually(() => lines.some(({ fields }) => fields['attempt'] === 2))
      await seek(all, { offset: 7n })
      await eventually(async () => (await all.done()).length === 8)
      assert.deepEqual((await all.done()).slice(5), [
        { n: 5, generation: 0 },
        { n: 7, generation: 1 },
        { n: 8, generation: 1 },
      ])
    })
  })
}

describe('a seek', () => {
  it('is refused for a partition that is stopped, and for a log that is not what it was', async (t) => {
    const all = await operated(t)
    await loseTail(all.pool, all.topicId, 0, 2n)
    await assert.rejects(
      seek(all, 'beginning'),
      /position 5 lies outside of the log, which has 0 to 2/,
    )
    await all.start()
    await all.gap()
    await assert.rejects(seek(all, 'beginning'), /it is stopped: position 5 lies outside/)
    await recreateTopic(all.log, 'numbers')
    await all.pool.query('update millrace.position set halted = null')
    await assert.rejects(seek(all, 'beginning'), /the topic was deleted or made anew/)
    await assert.rejects(
      planSeek(all.operator, { application: 'app', topic: 'nmbers' }, 'end'),
      /app reads no topic 'nmbers'\. There is: numbers/,
    )
  })
})
