import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  listGaps,
  planResolve,
  resolveConsumers,
  type ConsumerScope,
  type Resolution,
  type ResolvePlan,
} from '../../../src/consumer/queries.ts'
import { addPartitions, loseTail, recreateTopic } from '../../support/log-damage.ts'
import {
  counted,
  counting,
  numbers,
  operated,
  type Done,
  type Operated,
} from '../../support/operating.ts'
import { eventually } from '../../support/wait.ts'

const APP: ConsumerScope = { application: 'app' }

async function resolve(
  { operator }: Operated,
  resolution: Resolution,
  scope = APP,
): Promise<Pick<ResolvePlan, 'steps' | 'refused'>> {
  return resolveConsumers(operator, await planResolve(operator, scope, resolution), {
    reason: 'because',
  })
}

const inGeneration = (generation: number, done: readonly Done[]): number[] =>
  done.filter((one) => one.generation === generation).map(({ n }) => n)

/** The tail from offset 2 on is lost, and other records are written in its place: 12, 13, …. */
async function rewritten(t: Parameters<typeof operated>[0], more: number): Promise<Operated> {
  const all = await operated(t)
  // Batches of their own, so that there are checkpoints to go back to.
  await loseTail(all.pool, all.topicId, 0, 2n)
  const { millrace } = await all.start({ app: counting('other', { start: 'end' }) })
  await millrace.publishMany(counted, numbers(12, 12 + more))
  await all.caughtUp('other')
  return all
}

describe('a gap that is resolved', () => {
  it('by accepting what was purged goes on where the log begins, and every record that is left is handled once', async (t) => {
    const all = await operated(t)
    const { log, topicId, start, done, jobs, gap, pool, caughtUp } = all
    const { millrace } = await start({ app: counting('other') })
    await millrace.publishMany(counted, numbers(5, 10))
    await caughtUp('other')
    await log.purge(topicId, 0, 8n)
    await start()
    await gap()
    const { steps } = await resolve(all, { decision: 'accept' })
    assert.deepEqual(
      steps.map(({ position, to, reread, givenUp }) => ({ position, to, reread, givenUp })),
      [{ position: 5n, to: 8n, reread: 0n, givenUp: 3n }],
    )
    await caughtUp()
    assert.deepEqual(
      (await done()).map(({ n }) => n),
      [0, 1, 2, 3, 4, 8, 9],
    )
    const own0 = (await jobs()).filter((job) => job.endsWith('/1'))
    assert.deepEqual(own0, ['8/1', '9/1'])
    const [decided] = await listGaps(pool)
    assert.deepEqual(
      { ...decided?.decided, at: null },
      {
        decision: 'accept',
        by: 'ana@test',
        at: null,
        reason: 'because',
        outcome: { topicId, next: '8', generation: 1, reread: '0', givenUp: '3' },
      },
    )
    const { rows } = await pool.query(
      'select operator, action, filter, count::int as count, reason from millrace.operator_action',
    )
    assert.deepEqual(rows, [
      {
        operator: 'ana@test',
        action: 'consumers.resolve',
        filter: { application: 'app', decision: 'accept' },
        count: 1,
        reason: 'because',
      },
    ])
  })

  it('by rewinding to the last record that is the same makes new jobs of what stands behind it, and skips nothing', async (t) => {
    const all = await operated(t)
    const { pool, topicId, start, done, jobs, gap, caughtUp } = all
    const before = await start()
    for (const n of [5, 6]) {
      await before.millrace.publish(counted, { n })
      await caughtUp()
    }
    await before.millrace.stop()
    // Batches ended at 4, 5 and 6: 4 is the last record that is still the same.
    await loseTail(pool, topicId, 0, 5n)
    const other = await start({ app: counting('other') })
    await other.millrace.publishMany(counted, numbers(15, 25))
    await caughtUp('other')
    await start()
    assert.equal((await gap()).code, 'diverged')
    const { steps } = await resolve(all, { decision: 'rewind', to: 'match' })
    assert.deepEqual(
      steps.map(({ position, to, reread, seen }) => [position, to, reread, seen?.offset]),
      [[7n, 5n, 2n, 4n]],
    )
    await all.caughtUp()
    assert.deepEqual(inGeneration(0, await done()), [0, 1, 2, 3, 4, 5, 6])
    assert.deepEqual(
      inGeneration(1, await done()),
      numbers(15, 25).map(({ n }) => n),
    )
    assert.ok((await jobs()).includes('15/1'))
  })

  it('by rewinding to the beginning reads all that there is again, in a new generation', async (t) => {
    const all = await rewritten(t, 2)
    await all.start()
    const { code } = await all.gap()
    assert.equal(code, 'behind-end')
    await assert.rejects(resolve(all, { decision: 'rewind', to: 'match' }), (error: Error) => {
      assert.match(
        error.message,
        /app was resolved\. numbers\/0: no record that was handled is still/,
      )
      return true
    })
    await resolve(all, { decision: 'rewind', to: 'beginning' })
    await all.caughtUp()
    assert.deepEqual(inGeneration(1, await all.done()), [0, 1, 12, 13])
    const made = (await all.jobs()).filter((job) => job.startsWith('0/') || job.startsWith('12/'))
    assert.deepEqual(made.toSorted(), ['0/0', '0/1', '12/0', '12/1'])
  })

  it('by accepting a lost tail goes on where the log ended when that was found, so that nothing appended since is skipped', async (t) => {
    const all = await operated(t)
    const { pool, topicId, start, gap, done } = all
    await loseTail(pool, topicId, 0, 2n)
    const { millrace } = await start()
    assert.equal((await gap()).code, 'behind-end')
    // The application is stopped; others go on writing, past where it had been.
    await millrace.publishMany(counted, numbers(12, 20))
    const { steps } = await resolve(all, { decision: 'accept' })
    assert.deepEqual(
      steps.map(({ position, to, givenUp }) => [position, to, givenUp]),
      [[5n, 2n, null]],
    )
    await all.caughtUp()
    assert.deepEqual(
      inGeneration(1, await done()),
      numbers(12, 20).map(({ n }) => n),
    )
  })

  it('by accepting a rewritten record goes on where it stopped', async (t) => {
    const all = await operated(t)
    await all.pool.query(`update millrace.record set value = 'another' where "offset" = 4`)
    const { millrace } = await all.start()
    await all.gap()
    await resolve(all, { decision: 'accept' })
    await millrace.publishMany(counted, numbers(5, 8))
    await all.caughtUp()
    assert.deepEqual(
      (await all.done()).map(({ n }) => n),
      numbers(0, 8).map(({ n }) => n),
    )
  })

  it('by adopting the new topic begins there, and the old positions end', async (t) => {
    const all = await operated(t, 2)
    const { log, pool, start, done } = all
    const { millrace } = await start()
    await recreateTopic(log, 'numbers')
    await addPartitions(pool, 'numbers', 3)
    await millrace.publishMany(counted, numbers(20, 40))
    await eventually(async () => (await listGaps(pool, { open: true })).length === 2)
    const before = (await done()).length
    const { steps } = await resolve(all, { decision: 'adopt', from: 'beginning' })
    assert.equal(steps.length, 5)
    await all.caughtUp()
    const handled = (await done()).slice(before).map(({ n }) => n)
    assert.deepEqual(
      handled.toSorted((a, b) => a - b),
      numbers(20, 40).map(({ n }) => n),
    )
    const { rows } = await pool.query(
      `select count(*)::int as positions, count(distinct p.topic_id)::int as topics, bool_and(t.id is not null) as known
       from millrace.position p left join millrace.topic t on t.id = p.topic_id`,
    )
    assert.deepEqual(rows, [{ positions: 3, topics: 1, known: true }])
    const topic = await log.topic('numbers')
    const gaps = await listGaps(pool)
    assert.deepEqual(
      gaps.map(({ decided }) => [
        decided?.decision,
        (decided?.outcome as { topicId: string } | undefined)?.topicId,
      ]),
      [
        ['adopt', topic?.id],
        ['adopt', topic?.id],
      ],
    )
  })

  it('by adopting from the end reads only what comes', async (t) => {
    const all = await operated(t)
    const { millrace } = await all.start()
    await recreateTopic(all.log, 'numbers')
    await millrace.publishMany(counted, numbers(20, 23))
    await all.gap()
    const { steps } = await resolve(all, { decision: 'adopt', from: 'end' })
    assert.deepEqual(
      steps.map(({ position, to, givenUp }) => [position, to, givenUp]),
      [
        [5n, null, null],
        [null, 3n, 3n],
      ],
    )
    await millrace.publishMany(counted, numbers(30, 32))
    await all.caughtUp()
    assert.deepEqual(
      (await all.done()).map(({ n }) => n),
      [0, 1, 2, 3, 4, 30, 31],
    )
  })

  it('by accepting that a topic is gone ends its position', async (t) => {
    const all = await operated(t)
    await all.start()
    await all.log.deleteTopic('numbers')
    await all.gap()
    await assert.rejects(resolve(all, { decision: 'rewind', to: 'beginning' }), /the topic is gone/)
    await assert.rejects(
      resolve(all, { decision: 'adopt', from: 'end' }),
      /there is no topic of that name/,
    )
    await resolve(all, { decision: 'accept' })
    assert.equal((await all.pool.query('select from millrace.position')).rowCount, 0)
  })
})

describe('a resolution', () => {
  it('is refused where it does not fit what was found', async (t) => {
    const all = await operated(t)
    const { millrace } = await all.start({ app: counting('other') })
    await millrace.publishMany(counted, numbers(5, 10))
    await all.caughtUp('other')
    await all.log.purge(all.topicId, 0, 8n)
    await all.start()
    await all.gap()
    for (const [resolution, why] of [
      [{ decision: 'rewind', to: 'match' }, /what was purged cannot be read again/],
      [{ decision: 'adopt', from: 'beginning' }, /the topic is the one that it was/],
      [{ decision: 'accept', to: 99n }, /offset 99 lies outside of the log, which has 8 to 10/],
    ] as const) {
      await assert.rejects(resolve(all, resolution), (error: Error & { code: string }) => {
        assert.equal(error.code, 'E_CONSUMER_STATE')
        assert.match(error.message, why)
        return true
      })
    }
    const { rowCount } = await all.pool.query('select from millrace.operator_action')
    assert.equal(rowCount, 0)
  })

  it('is refused for what is not stopped, and for what another operator has resolved meanwhile', async (t) => {
    const all = await operated(t)
    await assert.rejects(resolve(all, { decision: 'accept' }), /nothing of app is stopped/)
    await loseTail(all.pool, all.topicId, 0, 2n)
    await all.start()
    await all.gap()
    const plan = await planResolve(all.operator, APP, { decision: 'accept' })
    await resolve(all, { decision: 'rewind', to: 'beginning' })
    await assert.rejects(resolveConsumers(all.operator, plan), /somebody was quicker/)
    const { rows } = await all.pool.query('select generation from millrace.position')
    assert.deepEqual(rows, [{ generation: 1 }])
  })

  it('lets a position that finds its log damaged once more be stopped once more', async (t) => {
    const all = await operated(t)
    await loseTail(all.pool, all.topicId, 0, 2n)
    const { millrace } = await all.start()
    await all.gap()
    await resolve(all, { decision: 'accept' })
    await millrace.publishMany(counted, numbers(5, 9))
    await all.caughtUp()
    await millrace.stop()
    await loseTail(all.pool, all.topicId, 0, 1n)
    await all.start()
    const gap = await all.gap()
    assert.deepEqual([gap.code, gap.generation], ['behind-end', 1])
    assert.equal((await listGaps(all.pool)).length, 2)
  })
})
