import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { describe, test } from 'node:test'
import { isUuid } from '../../../src/core/ids.ts'
import { contentsConformance } from './contents.ts'
import { type MakeHarness, readAll, readOnce, record, valueOf } from './harness.ts'
import { everyReaderGetsEveryCommit, neverSkips } from './never-skips.ts'
import { readingConformance } from './reading.ts'

/** What a log can do beyond the port's promises to all. */
export interface LogTraits {
  /** It appends in the caller's transaction. */
  readonly transactional: boolean
}

/** Registers the tests that every log passes. */
export function logConformance(name: string, makeHarness: MakeHarness, traits: LogTraits): void {
  describe(`the ${name} log`, () => {
    topicsConformance(makeHarness)
    contentsConformance(makeHarness)
    readingConformance(makeHarness)
    concurrencyConformance(makeHarness, traits)
    if (traits.transactional) transactionsConformance(makeHarness)
  })
}

function topicsConformance(makeHarness: MakeHarness): void {
  test('a topic is made once, whoever asks', async (t) => {
    const { log, peer } = await makeHarness(t)
    const topics = await Promise.all(
      [log, peer, log, peer].map((one) => one.createTopic('orders', { partitions: 4 })),
    )
    assert.deepEqual(
      topics,
      Array.from({ length: 4 }, () => topics[0]),
    )
    assert.deepEqual(topics[0], { name: 'orders', id: topics[0]?.id, partitions: 4 })
    assert.ok(isUuid(topics[0]?.id ?? ''))
    assert.deepEqual(await peer.createTopic('orders'), topics[0])
    assert.deepEqual(await log.topic('orders'), topics[0])
    assert.equal(await log.topic('other'), undefined)
  })

  test('a topic with another number of partitions is refused', async (t) => {
    const { log } = await makeHarness(t)
    await log.createTopic('orders', { partitions: 2 })
    await assert.rejects(log.createTopic('orders', { partitions: 3 }), {
      code: 'E_LOG_TOPIC_EXISTS',
    })
    await assert.rejects(log.createTopic('a b', { partitions: 0 }), {
      code: 'E_CONFIG_INVALID',
      message: /name[\s\S]*partitions/,
    })
  })

  test('topics are listed by name', async (t) => {
    const { log } = await makeHarness(t)
    for (const name of ['b', 'c', 'a']) await log.createTopic(name, { partitions: 1 })
    assert.deepEqual(
      (await log.topics()).map(({ name }) => name),
      ['a', 'b', 'c'],
    )
  })

  test('a topic made again has another id, starts empty, and the old id is nobody', async (t) => {
    const { log, peer } = await makeHarness(t)
    const first = await log.createTopic('orders', { partitions: 2 })
    // The peer knows the name by its first meaning.
    await peer.append([record('orders', 'old', { partition: 1 })])
    await log.deleteTopic('orders')
    await log.deleteTopic('orders')
    assert.equal(await log.topic('orders'), undefined)
    const second = await log.createTopic('orders', { partitions: 1 })
    assert.notEqual(second.id, first.id)
    const [appended] = await peer.append([record('orders', 'new')])
    assert.deepEqual(appended, { topicId: second.id, partition: 0, offset: appended?.offset })
    assert.deepEqual((await readAll(log, second, 1)).map(valueOf), ['new'])

    assert.equal((await readOnce(peer, first)).outOfRange, 'unknown-partition')
    assert.deepEqual(await peer.offsets(first.id), [])
    await assert.rejects(peer.offsetAt(first.id, 0, new Date(0)), { code: 'E_LOG_UNKNOWN_TOPIC' })
    await assert.rejects(peer.purge(first.id, 0, 1n), { code: 'E_LOG_UNKNOWN_TOPIC' })
  })

  test('an append to what does not exist is refused and writes nothing', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 2 })
    for (const bad of [record('other', 'x'), record('orders', 'x', { partition: 2 })]) {
      await assert.rejects(log.append([record('orders', 'good'), bad]), {
        code: 'E_LOG_UNKNOWN_TOPIC',
      })
    }
    await log.deleteTopic('orders')
    await assert.rejects(log.append([record('orders', 'x')]), { code: 'E_LOG_UNKNOWN_TOPIC' })
    const again = await log.createTopic('orders', { partitions: 2 })
    assert.notEqual(again.id, topic.id)
    assert.deepEqual(await readAll(log, again, 0), [])
    assert.deepEqual(await log.append([]), [])
  })
}

function concurrencyConformance(makeHarness: MakeHarness, { transactional }: LogTraits): void {
  test('every reader gets every commit once and each key in order', async (t) => {
    const seed = randomInt(1_000_000)
    t.diagnostic(`seed ${seed}`)
    const harness = await makeHarness(t)
    await everyReaderGetsEveryCommit(harness, { seed, writers: 8, transactions: 25, transactional })
  })

  test('an append is told to whoever listens, until he stops', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    const told: string[] = []
    const stop = log.onAppend((ids) => told.push(...ids))
    await log.append([record('orders', '1')])
    assert.ok(told.includes(topic.id))
    stop()
    told.length = 0
    await log.append([record('orders', '2')])
    assert.deepEqual(told, [])
  })
}

function transactionsConformance(makeHarness: MakeHarness): void {
  test('a commit that comes after others of higher offsets is not passed over', async (t) => {
    await neverSkips(await makeHarness(t))
  })

  test('a record is there when its transaction commits, and never when it does not', async (t) => {
    const { log, begin } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    const kept = await begin()
    await kept.append([record('orders', 'kept')])
    assert.deepEqual(await readAll(log, topic, 0), [])
    await kept.commit()
    const gone = await begin()
    await gone.append([record('orders', 'gone')])
    await gone.rollback()
    await log.append([record('orders', 'after')])
    assert.deepEqual((await readAll(log, topic, 2)).map(valueOf), ['kept', 'after'])
  })

  test('a reader steps over the holes that rollbacks leave', async (t) => {
    const { log, begin } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    await log.append([record('orders', '1')])
    const gone = await begin()
    const holes = await gone.append([record('orders', 'x'), record('orders', 'y')])
    await gone.rollback()
    const result = await readOnce(log, topic)
    assert.deepEqual(result.records.map(valueOf), ['1'])
    assert.equal(result.nextOffset, (holes[1]?.offset ?? 0n) + 1n)
    const [after] = await log.append([record('orders', '2')])
    assert.ok((after?.offset ?? 0n) >= result.nextOffset)
    assert.deepEqual((await readOnce(log, topic, { offset: 1n })).records.map(valueOf), ['2'])
  })

  test('an open transaction holds back its own partitions only', async (t) => {
    const { log, begin } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 2 })
    const open = await begin()
    await open.append([record('orders', 'open', { partition: 0 })])
    await log.append([0, 1].map((partition) => record('orders', `p${partition}`, { partition })))
    assert.deepEqual((await readOnce(log, topic, { partition: 0 })).records, [])
    const other = await readOnce(log, topic, { partition: 1 })
    assert.deepEqual(other.records.map(valueOf), ['p1'])
    assert.equal(other.nextOffset, other.end)
    await open.commit()
    const held = await readOnce(log, topic, { partition: 0 })
    assert.deepEqual(held.records.map(valueOf), ['open', 'p0'])
  })

  test('a purge leaves what is not decided yet', async (t) => {
    const { log, begin } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    await log.append([record('orders', 'old')])
    const open = await begin()
    await open.append([record('orders', 'open')])
    await log.append([record('orders', 'new')])
    assert.equal(await log.purge(topic.id, 0, 1_000n), 1n)
    await open.commit()
    assert.deepEqual((await readAll(log, topic, 2)).map(valueOf), ['open', 'new'])
  })
}
