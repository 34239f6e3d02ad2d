import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isMillraceError, type MillraceError } from '../../../src/errors/millrace-error.ts'
import type { Log, NewRecord, Topic } from '../../../src/log/port.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { freshTopic, readToEnd, values } from '../../support/kafka-reading.ts'
import { sharedKafka, testKafka, type KafkaNode } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'

function record(topic: Topic, value: string | Buffer, partition = 0): NewRecord {
  return { topic: topic.name, key: null, value: Buffer.from(value), headers: [], partition }
}

test('appends at the same time are written in the order of their calls, each where it says', async (t) => {
  const log = await kafkaLog(t, await sharedKafka())
  const topic = await freshTopic(log, 'concurrent', 3)
  const calls = Array.from({ length: 200 }, (_, call) =>
    Array.from({ length: 1 + (call % 7) }, (__, n) => record(topic, `${call}/${n}`, call % 3)),
  )
  const appended = await Promise.all(calls.map((records) => log.append(records)))
  for (const partition of [0, 1, 2]) {
    const { records } = await readToEnd(log, topic, 0n, partition)
    const mine = calls.flatMap((some, call) => (call % 3 === partition ? some : []))
    assert.deepEqual(
      values(records),
      mine.map(({ value }) => String(value)),
    )
    const places = appended.flatMap((some, call) => (call % 3 === partition ? some : []))
    assert.deepEqual(
      places.map(({ offset }) => offset),
      records.map(({ offset }) => offset),
    )
  }
})

test('a record that the topic does not take is refused, and the others are written', async (t) => {
  const log = await kafkaLog(t, await sharedKafka(), {
    topicConfigs: { 'max.message.bytes': '20000' },
  })
  const topic = await freshTopic(log, 'small-records')
  // Together they are more than the topic takes at once, each for itself is not.
  const some = Array.from({ length: 100 }, (_, n) => record(topic, `${n}`.padEnd(5_000)))
  const outcomes = await Promise.allSettled([
    log.append(some),
    log.append([record(topic, Buffer.alloc(30_000))]),
    log.append([record(topic, 'last')]),
  ])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  const { reason } = outcomes[1] as PromiseRejectedResult
  assert.equal((reason as MillraceError).code, 'E_EVENT_TOO_LARGE')
  assert.match((reason as MillraceError).message, /small-records.*max\.message\.bytes/)
  const { records } = await readToEnd(log, topic)
  assert.deepEqual(
    values(records).map((value) => value.trim()),
    [...some.map((_, n) => `${n}`), 'last'],
  )
})

test('an append of which a part was refused says what was written', async (t) => {
  const log = await kafkaLog(t, await sharedKafka(), {
    topicConfigs: { 'max.message.bytes': '20000' },
  })
  const topic = await freshTopic(log, 'partly', 2)
  // A leader that has just been made one may refuse without saying whether it has written.
  await log.append([record(topic, 'first', 0), record(topic, 'first', 1)])
  await assert.rejects(
    log.append([record(topic, 'fits', 0), record(topic, Buffer.alloc(30_000), 1)]),
    (error: MillraceError) => {
      assert.equal(error.code, 'E_LOG_UNKNOWN_APPEND')
      assert.match(error.message, /^1 of 2 records were written, the others were not/)
      assert.deepEqual(error.details['written'], [
        { record: 0, topicId: topic.id, partition: 0, offset: '1' },
      ])
      return true
    },
  )
})

test('an append in a database transaction is refused', async (t) => {
  const log = await kafkaLog(t, await sharedKafka())
  const topic = await freshTopic(log, 'no-transaction')
  const tx = { query: () => Promise.reject(new Error('never asked')) }
  await assert.rejects(log.append([record(topic, 'x')], { tx }), {
    code: 'E_LOG_NOT_TRANSACTIONAL',
    message: /outbox/,
  })
})

test('an append that nobody answers has an unknown outcome; what comes later stands behind it', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const log = await kafkaLog(t, cluster, { deliveryTimeoutMs: 2_000, requestTimeoutMs: 1_000 })
  const topic = await log.createTopic('unknown', { partitions: 1 })
  await log.append([record(topic, 'first')])
  node.pause()
  try {
    await assert.rejects(log.append([record(topic, 'perhaps')]), {
      code: 'E_LOG_UNKNOWN_APPEND',
      message: /^0 of 1 records were written, of the others nobody knows/,
    })
  } finally {
    node.resume()
  }
  await eventually(async () => log.append([record(topic, 'second')]))
  await eventually(async () => log.append([record(topic, 'third')]))
  const { records } = await readToEnd(log, topic)
  const got = values(records)
  const without = got.filter((value) => value !== 'perhaps')
  assert.ok(got.length - without.length <= 1, 'at most once')
  assert.deepEqual(without, ['first', 'second', 'third'])
  assert.ok(got.length === without.length || got[1] === 'perhaps', got.join())
})

test('an append to a broker that is gone is refused, and nothing was written', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const log = await kafkaLog(t, cluster, { deliveryTimeoutMs: 1_500 })
  const topic = await log.createTopic('gone', { partitions: 1 })
  await log.append([record(topic, 'first')])
  await node.kill9()
  await assert.rejects(log.append([record(topic, 'never')]), {
    code: 'E_LOG_UNAVAILABLE',
    retryable: true,
    message: /not written/,
  })
  await node.restart()
  await eventually(async () => log.append([record(topic, 'second')]))
  assert.deepEqual(values((await readToEnd(log, topic)).records), ['first', 'second'])
})

/** Appends with many calls under way while `disturb` is at work; then looks whether all is there once and in order. */
async function underTrouble(log: Log, topic: Topic, disturb: () => Promise<void>): Promise<void> {
  let disturbing = true
  let next = 0
  const written: string[] = []
  const unknown = new Set<string>()
  const underWay = new Set<Promise<void>>()
  const append = async (): Promise<void> => {
    const n = (next += 1)
    const some = Array.from({ length: 5 }, (_, i) => `${n}/${i}`)
    written.push(...some)
    try {
      await log.append(some.map((value) => record(topic, value, n % topic.partitions)))
    } catch (error) {
      assert.ok(isMillraceError(error), String(error))
      if (error.code !== 'E_LOG_UNKNOWN_APPEND') throw error
      for (const value of some) unknown.add(value)
    }
  }
  const disturbed = disturb().finally(() => {
    disturbing = false
  })
  for (let last = 100; last > 0; ) {
    if (!disturbing) last -= 1
    const one = append().finally(() => underWay.delete(one))
    underWay.add(one)
    if (underWay.size >= 16) await Promise.race(underWay)
  }
  await Promise.all(underWay)
  await disturbed
  assert.equal(unknown.size, 0, 'there was time enough for every append')
  for (let partition = 0; partition < topic.partitions; partition += 1) {
    const { records } = await readToEnd(log, topic, 0n, partition)
    const mine = written.filter(
      (value) => Number(value.split('/')[0]) % topic.partitions === partition,
    )
    assert.deepEqual(values(records), mine)
  }
}

test('nothing is lost, doubled or reordered when the broker is killed again and again', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const log = await kafkaLog(t, cluster, { deliveryTimeoutMs: 120_000 })
  const topic = await log.createTopic('killed', { partitions: 2 })
  await underTrouble(log, topic, async () => {
    for (let round = 1n; round <= 3n; round += 1n) {
      await untilWritten(log, topic, 300n * round)
      await node.kill9()
      await node.restart()
    }
  })
})

test('nothing is lost, doubled or reordered when the broker holds still', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const log = await kafkaLog(t, cluster, { deliveryTimeoutMs: 120_000, requestTimeoutMs: 1_000 })
  const topic = (await eventually(async () => log.createTopic('held', { partitions: 2 }))) as Topic
  await underTrouble(log, topic, async () => {
    for (let round = 1n; round <= 3n; round += 1n) {
      await untilWritten(log, topic, 300n * round)
      node.pause()
      // Long enough for every request to be given up, and sent again.
      await assert.rejects(
        eventually(() => false, { timeoutMs: 2_500 }),
        /did not come true/,
      )
      node.resume()
    }
  })
})

/** Waits until a partition has grown so far, however often the broker cannot say. */
async function untilWritten(log: Log, topic: Topic, count: bigint): Promise<void> {
  await eventually(async () => {
    const offsets = await log.offsets(topic.id)
    return offsets.reduce((sum, { end }) => sum + end, 0n) >= count
  })
}
