import assert from 'node:assert/strict'
import test from 'node:test'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka, testKafka, type KafkaNode } from '../../support/kafka.ts'
import { loseHalf } from '../../support/kafka-tail.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { underLoad } from '../load.ts'
import { kill } from '../many-processes.ts'
import { count } from '../scenarios.ts'
import { gapsOf, kafkaAdmin, resolve } from './operating.ts'

const ADDED =
  'partitions were added to a topic: a key may be in another one from now on, beside what is left of it in the old'

test('stops at a topic that was made anew while it ran, until somebody adopts it', async (t) => {
  const log = await sharedKafka()
  const run = await ChaosRun.begin(t, {
    name: 'a topic made anew',
    database: await testDatabase(t),
    log,
    relocates: true,
  })
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  await run.producer.produce(80)
  await run.quiet(40_000)
  await run.remember()
  const admin = kafkaAdmin(t, log.brokers)
  const old = await run.kafka?.topic()
  const at = Date.now()
  await admin.deleteTopics({ topics: [run.topic] })
  // The old one is not quite gone at first.
  await eventually(async () =>
    admin.createTopics({ topics: [run.topic], partitions: 3, replicas: 1 }),
  )
  const anew = await eventually(async () => run.kafka?.topic())
  const end = underLoad(run)
  const gaps = await gapsOf(run, 4)
  const made = async (): Promise<number> =>
    count(run, `select count(*)::int as n from millrace.position where topic_id = $1`, [anew?.id])
  run.fault('made anew', run.topic, at, {
    seen: old?.id !== anew?.id && gaps.every(({ topicId }) => topicId === old?.id),
    text: `${old?.id} became ${anew?.id}: ${gaps.map(({ code }) => code).join()}`,
  })
  await eventually(() => run.producer.acknowledged >= 160)
  assert.equal(await made(), 0, 'nothing of the new topic is read before somebody says so')
  await resolve(t, run, log.brokers, { decision: 'adopt', from: 'beginning' })
  await end()
  await run.quiet(40_000)
  await run.pass()
})

test('reads added partitions from their beginning, though it started at the end of the log', async (t) => {
  const log = await sharedKafka()
  const run = await ChaosRun.begin(t, {
    name: 'added partitions',
    database: await testDatabase(t),
    log,
    partitions: 2,
    relocates: true,
    workers: { start: 'end', batchRecords: 10 },
  })
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  const positions = async (): Promise<number> =>
    count(run, 'select count(*)::int as n from millrace.position where owner is not null')
  await eventually(async () => (await positions()) === 2)
  const end = underLoad(run)
  await eventually(() => run.producer.acknowledged >= 60)
  const at = Date.now()
  const admin = kafkaAdmin(t, log.brokers)
  await admin.createPartitions({ topics: [{ name: run.topic, count: 6 }] })
  await eventually(async () => (await positions()) === 6)
  await eventually(async () => {
    const topic = await run.kafka?.topic()
    return topic?.partitions.every(({ end: ends }) => ends > 0n)
  })
  await end()
  const said = workers.reduce((sum, worker) => sum + worker.logged(ADDED), 0)
  run.fault('added', 'four partitions', at, {
    seen: said > 0,
    text: `${said} workers said that keys may have moved`,
  })
  await run.quiet(40_000)
  const { batches } = await run.pass()
  for (const added of [2, 3, 4, 5]) {
    const [first] = batches.filter(({ partition }) => partition === added)
    assert.equal(first?.first, 0n)
  }
})

test('says what was purged while nobody read, and goes on behind it when somebody accepts that', async (t) => {
  const log = await sharedKafka()
  const run = await ChaosRun.begin(t, {
    name: 'records purged unread',
    database: await testDatabase(t),
    log,
    partitions: 2,
  })
  const first = run.worker({ name: 'first' })
  await run.producer.produce(60)
  await run.quiet(40_000)
  await kill(run, first)
  await run.producer.produce(60)
  await run.remember()
  const topic = await run.kafka?.topic()
  const purged = (topic?.partitions ?? []).map(({ end }, partition) => ({
    partition,
    offset: end - 5n,
  }))
  const at = Date.now()
  await kafkaAdmin(t, log.brokers).deleteRecords({
    topics: [{ name: run.topic, partitions: purged }],
  })
  run.worker({ name: 'second' })
  const gaps = await gapsOf(run, 2)
  run.fault('purged', 'unread records', at, {
    seen: gaps.every(({ code }) => code === 'before-start'),
    text: gaps.map(({ found }) => found).join('; '),
  })
  assert.deepEqual(
    gaps
      .map(({ partition, to }) => ({ partition, offset: to }))
      .sort((a, b) => a.partition - b.partition),
    purged,
  )
  assert.equal(
    await count(
      run,
      `select count(*)::int as n from observer.job_change where op = 'insert' and actor = 'second' and in_table = 'job'`,
    ),
    0,
  )
  await resolve(t, run, log.brokers, { decision: 'accept' })
  await run.producer.produce(20)
  await run.quiet(40_000)
  await run.pass()
})

test('replays and skips nothing when the offsets in Kafka are lost, or run ahead', async (t) => {
  const log = await sharedKafka()
  const run = await ChaosRun.begin(t, {
    name: 'offsets in Kafka',
    database: await testDatabase(t),
    log,
    foreignOffsets: true,
    partitions: 1,
  })
  const admin = kafkaAdmin(t, log.brokers)
  const committed = async (): Promise<bigint | undefined> => {
    const [group] = await admin.listConsumerGroupOffsets({ groups: ['chaos'] })
    return group?.topics.find(({ name }) => name === run.topic)?.partitions[0]?.committedOffset
  }
  let worker = run.worker()
  await run.producer.produce(40)
  await eventually(async () => (await committed()) === 40n)

  let at = Date.now()
  await kill(run, worker)
  await admin.deleteConsumerGroupOffsets({
    groupId: 'chaos',
    topics: [{ name: run.topic, partitionIndexes: [0] }],
  })
  const gone = await committed()
  run.fault('deleted', 'committed offsets', at, {
    seen: gone === undefined || gone < 0n,
    text: `Kafka says ${gone}`,
  })
  worker = run.worker()
  await run.producer.produce(40)
  await eventually(async () => (await committed()) === 80n)

  at = Date.now()
  await kill(run, worker)
  await admin.alterConsumerGroupOffsets({
    groupId: 'chaos',
    topics: [{ name: run.topic, partitionOffsets: [{ partition: 0, offset: 110n }] }],
  })
  const ahead = await committed()
  run.fault('moved ahead', 'committed offsets', at, {
    seen: ahead === 110n,
    text: `Kafka says ${ahead}`,
  })
  await run.producer.produce(40)
  run.worker()
  await run.quiet(40_000)
  const { batches } = await run.pass()
  assert.ok(batches.some(({ first }) => first === 80n))
})

test('makes no job behind a tail that was lost and overgrown, and reads what took its place when somebody says so', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const run = await ChaosRun.begin(t, {
    name: 'a lost tail',
    database: await testDatabase(t),
    log: { brokers: cluster.brokers },
    partitions: 1,
  })
  const first = run.worker({ name: 'first' })
  await run.producer.produce(100)
  await run.quiet(40_000)
  await kill(run, first)
  await run.remember()
  const at = Date.now()
  await loseHalf(node, run.topic)
  const { before, after } = await run.tailLost()
  assert.ok(after > 0n && after < before, `${after} of ${before} records are left`)
  // The log becomes longer than it was: no offset gives the loss away.
  await eventually(async () => {
    await run.producer.produce(20, { persistent: false })
    return ((await run.kafka?.topic())?.partitions[0]?.end ?? 0n) > 110n
  })
  const second = run.worker({ name: 'second' })
  const [gap] = await gapsOf(run, 1)
  run.fault('lost tail', run.topic, at, {
    seen: after < before && gap?.code === 'diverged',
    text: `of ${before} records ${after} were left; found ${gap?.code}: ${gap?.found}`,
  })
  // The line comes after the row, and through a pipe.
  const alarm = 'the log is not what it was: this partition is stopped until somebody decides'
  await eventually(() => second.logged(alarm) === 1)
  assert.equal(
    await count(
      run,
      `select count(*)::int as n from observer.job_change where actor = 'second' and op = 'insert'`,
    ),
    0,
  )
  await resolve(t, run, cluster.brokers, { decision: 'rewind', to: 'match' })
  await run.producer.produce(20)
  await run.quiet(60_000)
  const { moves } = await run.pass()
  assert.ok(moves.length === 1 && (moves[0]?.to ?? before) <= after, 'all that is new is read')
})
