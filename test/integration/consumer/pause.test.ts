import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import {
  listConsumers,
  pauseConsumers,
  planSeek,
  resumeConsumers,
  seekConsumers,
} from '../../../src/consumer/queries.ts'
import { setFailpointHandler } from '../../../src/core/failpoint.ts'
import { addPartitions } from '../../support/log-damage.ts'
import { counted, numbers, operated, type Operated } from '../../support/operating.ts'
import { eventually } from '../../support/wait.ts'

const APP = { application: 'app' } as const

/** Waits until nobody reads the application's partitions any more. */
async function held({ pool, log }: Operated): Promise<void> {
  await eventually(async () =>
    (await listConsumers(pool, log, APP)).every(
      ({ state, ownerId }) => state === 'paused' && ownerId === null,
    ),
  )
}

describe('a pause', () => {
  afterEach(() => setFailpointHandler(undefined))

  it('lets the batch at hand be finished, and nothing after it', async (t) => {
    const all = await operated(t)
    const { millrace } = await all.start()
    const reached = Promise.withResolvers<void>()
    const released = Promise.withResolvers<void>()
    setFailpointHandler((name) => {
      if (name !== 'batch:before-position') return undefined
      reached.resolve()
      return released.promise
    })
    await millrace.publishMany(counted, numbers(5, 8))
    await reached.promise
    await pauseConsumers(all.operator, APP, { reason: 'index is rebuilt' })
    const [meanwhile] = await listConsumers(all.pool, all.log, APP)
    assert.equal(meanwhile?.state, 'paused')
    await millrace.publishMany(counted, numbers(8, 12))
    released.resolve()
    await held(all)
    assert.equal((await all.done()).length, 8)
    const [consumer] = await listConsumers(all.pool, all.log, APP)
    assert.match(consumer?.reason ?? '', /^all of it paused by ana@test: index is rebuilt$/)
    assert.deepEqual(
      [consumer?.owner, consumer?.lag, consumer?.next],
      [null, 4n, 'millrace consumers resume --app app'],
    )
    await resumeConsumers(all.operator, APP)
    await all.caughtUp()
    assert.deepEqual(
      await all.done(),
      numbers(0, 12).map(({ n }) => ({ n, generation: 0 })),
    )
  })

  it('lasts over restarts, until it is resumed', async (t) => {
    const all = await operated(t)
    await pauseConsumers(all.operator, APP, { reason: 'later' })
    for (let restarts = 0; restarts < 2; restarts += 1) {
      const { millrace } = await all.start()
      await millrace.publish(counted, { n: 5 + restarts })
      await millrace.stop()
    }
    const { lines } = await all.start()
    assert.equal((await all.done()).length, 5)
    assert.ok(!lines.some(({ message }) => message === 'reading a partition'))
    await resumeConsumers(all.operator, APP, { reason: 'now' })
    await all.caughtUp()
    assert.equal((await all.done()).length, 7)
    const { rows } = await all.pool.query(
      'select action, operator, count::int as count, reason from millrace.operator_action order by id',
    )
    assert.deepEqual(rows, [
      { action: 'consumers.pause', operator: 'ana@test', count: 1, reason: 'later' },
      { action: 'consumers.resume', operator: 'ana@test', count: 1, reason: 'now' },
    ])
  })

  it('of one partition holds no other back', async (t) => {
    const all = await operated(t, 3)
    const { millrace } = await all.start()
    const scope = { ...APP, topic: 'numbers', partition: 1 }
    await pauseConsumers(all.operator, scope, { reason: 'odd records' })
    await eventually(async () => {
      const states = await listConsumers(all.pool, all.log, APP)
      return states.map(({ state }) => state).join() === 'reading,paused,reading'
    })
    await eventually(async () => (await listConsumers(all.pool, all.log, APP))[1]?.owner === null)
    const before = (await all.done()).length
    for (const partition of [0, 1, 2])
      await millrace.log.append([
        { topic: 'numbers', partition, key: null, value: Buffer.from('x'), headers: [] },
      ])
    await eventually(async () => {
      const list = await listConsumers(all.pool, all.log, APP)
      return list.map(({ lag }) => lag).join() === '0,1,0'
    })
    assert.equal((await all.done()).length, before)
    const other = await listConsumers(all.pool, all.log, scope)
    assert.deepEqual(
      other.map(({ reason, next }) => [reason, next]),
      [
        [
          'numbers/1 paused by ana@test: odd records',
          'millrace consumers resume --app app --topic numbers --partition 1',
        ],
      ],
    )
  })

  it('ends by itself when its time is over', async (t) => {
    const all = await operated(t)
    const { pause } = await pauseConsumers(all.operator, APP, { reason: 'a moment', forMs: 1_000 })
    assert.equal(pause.expiresAt !== null, true)
    const { millrace } = await all.start()
    await millrace.publish(counted, { n: 5 })
    await all.caughtUp()
    assert.equal((await all.done()).length, 6)
    const { pauses } = await resumeConsumers(all.operator, APP)
    assert.deepEqual(pauses, [])
  })

  it('of a topic holds partitions back that are added later', async (t) => {
    const all = await operated(t)
    await pauseConsumers(all.operator, { ...APP, topic: 'numbers' }, { reason: 'later' })
    const { millrace } = await all.start()
    await addPartitions(all.pool, 'numbers', 3)
    await millrace.publishMany(counted, numbers(5, 30))
    await eventually(async () => (await listConsumers(all.pool, all.log, APP)).length === 3)
    await held(all)
    assert.equal((await all.done()).length, 5)
    await resumeConsumers(all.operator, { ...APP, topic: 'numbers' })
    await all.caughtUp()
    assert.equal((await all.done()).length, 30)
  })

  it('that is wider cannot be taken back in part', async (t) => {
    const all = await operated(t)
    const scope = { ...APP, topic: 'numbers', partition: 0 }
    await pauseConsumers(all.operator, APP, { reason: 'all of it' })
    await assert.rejects(
      resumeConsumers(all.operator, scope),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'E_CONSUMER_STATE')
        assert.match(error.message, /as a whole: millrace consumers resume --app app$/)
        return true
      },
    )
    await pauseConsumers(all.operator, scope, { reason: 'and this one' })
    const { pauses, held: rest } = await resumeConsumers(all.operator, scope)
    assert.deepEqual(
      [pauses.map(({ reason }) => reason), rest.map(({ why }) => why)],
      [['and this one'], ['all of it paused by ana@test: all of it']],
    )
    await pauseConsumers(all.operator, scope, { reason: 'once more' })
    assert.equal((await resumeConsumers(all.operator, APP)).pauses.length, 2)
  })

  it('stays when the position is moved meanwhile', async (t) => {
    const all = await operated(t)
    await all.start()
    await pauseConsumers(all.operator, APP, { reason: 'first this' })
    await held(all)
    const plan = await planSeek(all.operator, { ...APP, topic: 'numbers' }, 'beginning')
    await seekConsumers(all.operator, plan)
    const [consumer] = await listConsumers(all.pool, all.log, APP)
    assert.deepEqual([consumer?.state, consumer?.position], ['paused', 0n])
    await resumeConsumers(all.operator, APP)
    await eventually(async () => (await all.done()).length === 10)
  })

  it('of an application that nobody knows is refused, and names those that there are', async (t) => {
    const all = await operated(t)
    await assert.rejects(
      pauseConsumers(all.operator, { application: 'ap' }, { reason: 'x' }),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'E_CONSUMER_NOT_FOUND')
        assert.equal(error.message, `there is no application 'ap'. There is: app`)
        return true
      },
    )
    await assert.rejects(
      pauseConsumers(all.operator, { ...APP, topic: 'numbers', partition: 7 }, { reason: 'x' }),
      /app has no partition 7 of numbers\. There is: 0/,
    )
    assert.equal((await all.pool.query('select from millrace.pause')).rowCount, 0)
  })
})
