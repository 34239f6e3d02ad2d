import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { addPartitions } from '../../support/log-damage.ts'
import { counted, counting, numbers, operated } from '../../support/operating.ts'
import { eventually } from '../../support/wait.ts'

const sorted = (done: readonly { readonly n: number }[]): number[] =>
  done.map(({ n }) => n).toSorted((a, b) => a - b)
const ns = (from: number, to: number): number[] => numbers(from, to).map(({ n }) => n)

describe('several applications of one topic', () => {
  it('are each at their own position, and a new one begins at the beginning while the others go on', async (t) => {
    const all = await operated(t, 3)
    const { millrace } = await all.start()
    await all.start({ app: counting('late', { start: 'end' }) })
    await eventually(
      async () => (await listConsumers(all.pool, all.log, { application: 'late' })).length === 3,
    )
    let written = 5
    let writing = true
    const writer = (async () => {
      while (writing) {
        await millrace.publishMany(counted, numbers(written, written + 10))
        written += 10
      }
    })()
    await eventually(async () => (await all.done()).length > 200)
    await all.start({ app: counting('new') })
    await eventually(async () => (await all.done('new')).length > 200)
    writing = false
    await writer
    for (const name of ['app', 'late', 'new']) await all.caughtUp(name)
    assert.deepEqual(sorted(await all.done()), ns(0, written))
    assert.deepEqual(sorted(await all.done('new')), ns(0, written))
    assert.deepEqual(sorted(await all.done('late')), ns(5, written))
  })

  it('begin at the start of partitions that are added while they run, and say so', async (t) => {
    const all = await operated(t)
    const first = await all.start()
    const late = await all.start({ app: counting('late', { start: 'end' }) })
    await addPartitions(all.pool, 'numbers', 4)
    await first.millrace.publishMany(counted, numbers(5, 60))
    for (const name of ['app', 'late']) {
      await eventually(
        async () => (await listConsumers(all.pool, all.log, { application: name })).length === 4,
      )
      await all.caughtUp(name)
    }
    assert.deepEqual(sorted(await all.done()), ns(0, 60))
    assert.deepEqual(sorted(await all.done('late')), ns(5, 60))
    for (const { lines } of [first, late]) {
      const said = lines.filter(({ message }) => message.startsWith('partitions were added'))
      assert.deepEqual(
        said.map(({ level, fields }) => [level, fields['partitions']]),
        [['warn', [1, 2, 3]]],
      )
    }
  })
})

describe('a list of consumers', () => {
  it('says how far each is behind, in records and in time', async (t) => {
    const all = await operated(t)
    const { millrace } = await all.start({ app: counting('other') })
    await millrace.publish(counted, { n: 5 }, { time: new Date(Date.now() - 3_600_000) })
    await millrace.publish(counted, { n: 6 })
    await all.caughtUp('other')
    const list = await listConsumers(all.pool, all.log, { lagTimes: true })
    const [app, other] = list
    assert.deepEqual([app?.application, app?.lag, app?.state], ['app', 2n, 'unowned'])
    assert.ok((app?.lagMs ?? 0) >= 3_600_000 && (app?.lagMs ?? 0) < 3_700_000, String(app?.lagMs))
    assert.equal(app?.next, 'millrace start --consumers app')
    assert.deepEqual(
      [other?.lag, other?.lagMs, other?.state, other?.next],
      [0n, 0, 'reading', null],
    )
    const cheap = await listConsumers(all.pool, all.log)
    assert.deepEqual(
      cheap.map(({ lagMs }) => lagMs),
      [null, null],
    )
  })
})

describe('several processes of one application', () => {
  it('read a partition on that stands in the name of one who lives, and could not give it back', async (t) => {
    const all = await operated(t, 2)
    const [one, two] = [await all.start(), await all.start()]
    const owners = async (): Promise<(string | null)[]> =>
      (await listConsumers(all.pool, all.log, { application: 'app' })).map(({ ownerId }) => ownerId)
    const ids = [one, two].map(({ millrace }) => millrace.processId).toSorted()
    await eventually(async () => String((await owners()).toSorted()) === String(ids))
    // As it stands when the connection broke while it was given back.
    await all.pool.query(
      'update millrace.position set owner = $1, epoch = epoch + 1 where owner = $2',
      ids,
    )
    await one.millrace.publishMany(counted, numbers(5, 40))
    await eventually(async () => String((await owners()).toSorted()) === String(ids))
    await all.caughtUp()
    assert.deepEqual(sorted(await all.done()), ns(0, 40))
  })
})
