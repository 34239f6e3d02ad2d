import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StopReason } from '../../../src/core/abort.ts'
import type { Log, Topic } from '../../../src/log/port.ts'
import { type MakeHarness, readAll, readOnce, record, valueOf } from './harness.ts'

async function filled(log: Log, values: readonly string[]): Promise<Topic> {
  const topic = await log.createTopic('orders', { partitions: 1 })
  await log.append(values.map((value) => record('orders', value)))
  await readAll(log, topic, values.length)
  return topic
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n))

/** Registers the tests of reading, ranges and purging. */
export function readingConformance(makeHarness: MakeHarness): void {
  test('readers do not disturb each other', async (t) => {
    const { log, peer } = await makeHarness(t)
    const topic = await filled(log, numbers(10))
    for (const [reader, step] of [
      [log, 3],
      [peer, 4],
      [log, 10],
    ] as const) {
      const got: string[] = []
      for (let offset = 0n; got.length < 10; ) {
        const result = await readOnce(reader, topic, { offset, maxRecords: step })
        assert.ok(result.records.length <= step)
        got.push(...result.records.map(valueOf))
        offset = result.nextOffset
      }
      assert.deepEqual(got, numbers(10))
    }
  })

  test('a read that a limit cuts off goes on behind its last record', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await filled(log, numbers(10))
    const result = await readOnce(log, topic, { maxRecords: 4 })
    assert.deepEqual(result.records.map(valueOf), numbers(4))
    assert.equal(result.nextOffset, (result.records[3]?.offset ?? 0n) + 1n)
    assert.ok(result.end > result.nextOffset)
  })

  test('bytes are limited, and the first record is given all the same', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await filled(log, [
      'a'.repeat(400),
      'b'.repeat(400),
      'c'.repeat(400),
      'd'.repeat(4_000),
    ])
    const first = await readOnce(log, topic, { maxBytes: 1_000 })
    assert.equal(first.records.length, 2)
    assert.equal(first.nextOffset, (first.records[1]?.offset ?? 0n) + 1n)
    const one = await readOnce(log, topic, { maxBytes: 1 })
    assert.equal(one.records.length, 1)
    const third = await readOnce(log, topic, { offset: first.nextOffset, maxBytes: 1_000 })
    assert.equal(third.records.length, 1)
    const fourth = await readOnce(log, topic, { offset: third.nextOffset, maxBytes: 1_000 })
    assert.deepEqual(fourth.records.map(valueOf), ['d'.repeat(4_000)])
    assert.equal(fourth.nextOffset, fourth.end)
  })

  test('limits out of bounds are refused', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await filled(log, [])
    for (const limits of [{ maxRecords: 0 }, { maxRecords: 10_001 }, { maxBytes: 0.5 }]) {
      await assert.rejects(readOnce(log, topic, limits), { code: 'E_CONFIG_INVALID' })
    }
  })

  test('a read at the end has no records and stays there', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await filled(log, numbers(3))
    const { nextOffset, end } = await readOnce(log, topic)
    assert.equal(nextOffset, end)
    const again = await readOnce(log, topic, { offset: nextOffset })
    assert.deepEqual(again.records, [])
    assert.equal(again.nextOffset, nextOffset)
    assert.equal(again.outOfRange, undefined)
    const empty = await log.createTopic('empty', { partitions: 1 })
    assert.equal((await readOnce(log, empty)).outOfRange, undefined)
  })

  test('one call reads several partitions, each as asked', async (t) => {
    const { log } = await makeHarness(t)
    const orders = await filled(log, numbers(5))
    const films = await log.createTopic('films', { partitions: 2 })
    await log.append([record('films', 'f', { partition: 1 })])
    await readAll(log, films, 1)
    const at = (
      topic: Topic,
      partition: number,
      offset: bigint,
    ): Parameters<Log['read']>[0][number] => ({
      topic: topic.name,
      topicId: topic.id,
      partition,
      offset,
      maxRecords: 2,
    })
    const results = await log.read([
      at(films, 1, 0n),
      at(orders, 0, 3n),
      at(films, 7, 5n),
      at(orders, 0, 0n),
      at(films, 0, 0n),
    ])
    assert.deepEqual(
      results.map(({ records }) => records.map(valueOf)),
      [['f'], ['3', '4'], [], ['0', '1'], []],
    )
    assert.deepEqual(
      results.map(({ topicId, partition }) => [topicId, partition]),
      [
        [films.id, 1],
        [orders.id, 0],
        [films.id, 7],
        [orders.id, 0],
        [films.id, 0],
      ],
    )
    assert.equal(results[2]?.outOfRange, 'unknown-partition')
    assert.equal(results[2]?.nextOffset, 5n)
    assert.deepEqual(await log.read([]), [])
  })

  test('an offset that the log does not have is said to be outside of it', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await filled(log, numbers(10))
    const { end } = await readOnce(log, topic)
    await log.purge(topic.id, 0, 4n)
    const before = await readOnce(log, topic, { offset: 3n })
    assert.equal(before.outOfRange, 'before-start')
    assert.equal(before.logStart, 4n)
    assert.deepEqual(before.records, [])
    assert.equal(before.nextOffset, 3n)
    const behind = await readOnce(log, topic, { offset: end + 1n })
    assert.equal(behind.outOfRange, 'behind-end')
    assert.equal(behind.end, end)
    assert.equal((await readOnce(log, topic, { offset: 4n })).outOfRange, undefined)
    assert.equal((await readOnce(log, topic, { offset: end })).outOfRange, undefined)
  })

  test('what was purged is gone, and offsets go on', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await filled(log, numbers(10))
    assert.equal(await log.purge(topic.id, 0, 6n), 6n)
    assert.equal(await log.purge(topic.id, 0, 2n), 6n)
    const left = await readAll(log, topic, 4)
    assert.deepEqual(left.map(valueOf), ['6', '7', '8', '9'])
    const [appended] = await log.append([record('orders', '10')])
    assert.ok((appended?.offset ?? 0n) > (left.at(-1)?.offset ?? 0n))
    const start = await log.purge(topic.id, 0, 1_000n)
    assert.deepEqual(await readAll(log, topic, 0), [])
    const [range] = await log.offsets(topic.id)
    assert.deepEqual(range, { partition: 0, start, end: start, appendOffset: start })
    assert.equal((await readOnce(log, topic, { offset: start })).outOfRange, undefined)
  })

  test('offsets tell how far each partition reaches', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 3 })
    const records = numbers(4).map((n) => record('orders', n, { partition: 1 }))
    const last = (await log.append(records)).at(-1)
    await readAll(log, topic, 4)
    const next = (last?.offset ?? 0n) + 1n
    assert.deepEqual(await log.offsets(topic.id), [
      { partition: 0, start: 0n, end: 0n, appendOffset: 0n },
      { partition: 1, start: 0n, end: next, appendOffset: next },
      { partition: 2, start: 0n, end: 0n, appendOffset: 0n },
    ])
    assert.deepEqual(await log.offsets('no such id'), [])
  })

  test('an offset is found by time, also when timestamps do not grow', async (t) => {
    const { log } = await makeHarness(t)
    const topic = await log.createTopic('orders', { partitions: 1 })
    const minutes = [1, 5, 3, 9, 7]
    const at = (minute: number): Date => new Date(Date.UTC(2026, 10, 22, 20, minute))
    const appended = await log.append(
      minutes.map((minute) => record('orders', String(minute), { timestamp: at(minute) })),
    )
    await readAll(log, topic, 5)
    const { end } = await readOnce(log, topic)
    const offsets = appended.map(({ offset }) => offset)
    for (const [minute, expected] of [
      [0, offsets[0]],
      [1, offsets[0]],
      [2, offsets[1]],
      [5, offsets[1]],
      [6, offsets[3]],
      [9, offsets[3]],
      [10, end],
    ] as const) {
      assert.equal(await log.offsetAt(topic.id, 0, at(minute)), expected, `minute ${minute}`)
    }
  })

  test('what is read is of one history as long as nothing happens to the log', async (t) => {
    const { log, peer } = await makeHarness(t)
    const topic = await filled(log, numbers(10))
    const names = new Set<string>()
    const look = async (offset: bigint): Promise<bigint> => {
      const { history, nextOffset } = await readOnce(log, topic, { offset, maxRecords: 4 })
      names.add(history)
      return nextOffset
    }
    for (let next = 0n, round = 0; round < 20; round += 1) {
      next = await look(next)
      await look(0n)
      // Some of it is found at the end, some comes while it is waited for.
      if (round % 3 === 0) await peer.append([record('orders', `more ${round}`)])
    }
    await log.purge(topic.id, 0, 3n)
    await look(3n)
    assert.deepEqual(
      [...names].map((name) => typeof name),
      ['string'],
    )
  })

  test('a read that nobody waits for any more is not begun', async (t) => {
    const { log } = await makeHarness(t)
    const reason = new StopReason()
    const request = { topic: 'x', topicId: 'x', partition: 0, offset: 0n }
    await assert.rejects(log.read([request], { signal: AbortSignal.abort(reason) }), reason)
  })
}
