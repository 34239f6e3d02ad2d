import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Admin } from '@platformatic/kafka'
import type { Log, NewRecord, ReadResult, Topic } from '../../../src/log/port.ts'
import { cleanup, type TestScope } from '../../support/cleanup.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { readToEnd, values } from '../../support/kafka-reading.ts'
import { testKafka, type Kafka, type KafkaNode } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'

function record(topic: Topic, value: string, partition: number): NewRecord {
  return { topic: topic.name, key: null, value: Buffer.from(value), headers: [], partition }
}

/** The broker that leads a partition, as the cluster tells anybody. */
async function leaderOf(
  t: TestScope,
  cluster: Kafka,
  topic: Topic,
  partition: number,
): Promise<KafkaNode> {
  const admin = new Admin({ clientId: 'admin', bootstrapBrokers: [...cluster.brokers] })
  cleanup(t, async () => admin.close())
  const { topics } = await admin.metadata({ topics: [topic.name] })
  const leader = topics.get(topic.name)?.partitions[partition]?.leader
  return cluster.nodes.find(({ id }) => id === leader) as KafkaNode
}

test('a leader that dies loses, doubles and reorders nothing, in reading and in writing', async (t) => {
  const cluster = await testKafka(t, { brokers: 3 })
  const log = await kafkaLog(t, cluster, { deliveryTimeoutMs: 120_000 })
  const topic = await log.createTopic('led', { partitions: 3 })
  const written = new Map<number, string[]>([0, 1, 2].map((partition) => [partition, []]))
  let writing = true
  let done = false
  const writers = [0, 1, 2].map(async (partition) => {
    for (let n = 0; writing || n < 50; n += 1) {
      written.get(partition)?.push(`${n}`)
      await log.append([record(topic, `${n}`, partition)])
    }
  })
  const readers = [0, 1, 2].map((partition) => follow(log, topic, partition, () => !done))
  const killed = await leaderOf(t, cluster, topic, 0)
  const far = async (count: bigint): Promise<boolean> => {
    const offsets = await log.offsets(topic.id)
    return offsets.every(({ end, unavailable }) => unavailable === undefined && end >= count)
  }
  await eventually(() => far(30n))
  await killed.kill9()
  await eventually(() => far(60n))
  await killed.restart()
  await eventually(() => far(90n))
  writing = false
  await Promise.all(writers)
  done = true
  for (const [partition, reader] of readers.entries()) {
    assert.deepEqual(await reader, written.get(partition))
    assert.deepEqual(
      values((await readToEnd(log, topic, 0n, partition)).records),
      written.get(partition),
    )
  }
})

/** Reads a partition without waiting for brokers, as the consumer does, until all that was written is there. */
async function follow(
  log: Log,
  topic: Topic,
  partition: number,
  writing: () => boolean,
): Promise<string[]> {
  const got: string[] = []
  let next = 0n
  await eventually(
    async () => {
      const more = writing()
      const [result] = await log.read(
        [{ topic: topic.name, topicId: topic.id, partition, offset: next }],
        { wait: !more },
      )
      assert.equal(result?.outOfRange, undefined)
      assert.equal(result?.corrupt, undefined)
      got.push(...values(result?.records ?? []))
      const moved = (result?.nextOffset ?? next) > next
      next = result?.nextOffset ?? next
      return !more && !moved && result?.unavailable === undefined
    },
    { intervalMs: 5, timeoutMs: 180_000 },
  )
  return got
}

test('partitions of a broker that holds still wait alone, and say so', async (t) => {
  const cluster = await testKafka(t, { brokers: 3 })
  const log = await kafkaLog(t, cluster, { replicationFactor: 1, requestTimeoutMs: 2_000 })
  // Kept on one broker each, so nobody can take over.
  const topic = await log.createTopic('alone', { partitions: 3 })
  for (const partition of [0, 1, 2]) await log.append([record(topic, 'first', partition)])
  const positions = [1n, 1n, 1n]
  const look = async (wait: boolean): Promise<readonly ReadResult[]> => {
    const requests = positions.map((offset, partition) => {
      return { topic: topic.name, topicId: topic.id, partition, offset }
    })
    const results = await log.read(requests, { wait })
    for (const { partition, nextOffset } of results) positions[partition] = nextOffset
    return results
  }
  await look(true)
  const still = await leaderOf(t, cluster, topic, 0)
  still.pause()
  try {
    const others = [1, 2]
    let longest = 0
    let rounds = 0
    await eventually(
      async () => {
        rounds += 1
        const before = performance.now()
        const results = await look(false)
        longest = Math.max(longest, performance.now() - before)
        for (const partition of others) {
          if (positions[partition] === BigInt(rounds))
            await log.append([record(topic, `${rounds}`, partition)])
        }
        assert.equal(results[1]?.unavailable ?? results[2]?.unavailable, undefined)
        return results[0]?.unavailable !== undefined && (positions[1] ?? 0n) > 5n
      },
      { intervalMs: 5 },
    )
    const [stopped] = await look(false)
    assert.match(stopped?.unavailable ?? '', new RegExp(`broker ${still.id}\\b`))
    assert.deepEqual([stopped?.records, stopped?.outOfRange], [[], undefined])
    assert.ok(longest < 2_000, `a read that does not wait took ${longest} ms`)
    const offsets = await log.offsets(topic.id)
    assert.deepEqual(
      offsets.map(({ unavailable }) => unavailable === undefined),
      [false, true, true],
    )
  } finally {
    still.resume()
  }
  await eventually(async () => log.append([record(topic, 'again', 0)]))
  const got = await eventually(async () => {
    const [result] = await look(false)
    return result?.records.length === 0 ? undefined : result
  })
  assert.deepEqual(values(got?.records ?? []), ['again'])
})

test('a partition without a leader says so, and is read again when it has one', async (t) => {
  const cluster = await testKafka(t, { brokers: 3 })
  const log = await kafkaLog(t, cluster, { replicationFactor: 1 })
  const topic = await log.createTopic('leaderless', { partitions: 3 })
  for (const partition of [0, 1, 2]) await log.append([record(topic, 'x', partition)])
  const gone = await leaderOf(t, cluster, topic, 0)
  await gone.kill9()
  const at = (partition: number): Parameters<Log['read']>[0][number] => {
    return { topic: topic.name, topicId: topic.id, partition, offset: 0n }
  }
  const reason = await eventually(async () => (await log.read([at(0)]))[0]?.unavailable)
  assert.ok(reason)
  for (const partition of [1, 2]) {
    assert.deepEqual(values((await readToEnd(log, topic, 0n, partition)).records), ['x'])
  }
  // It is not taken for gone.
  assert.equal((await log.topic('leaderless'))?.id, topic.id)
  await gone.restart()
  const back = await eventually(async () => (await log.read([at(0)]))[0]?.records[0])
  assert.equal(String(back?.value), 'x')
})
