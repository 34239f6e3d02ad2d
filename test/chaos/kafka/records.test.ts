import assert from 'node:assert/strict'
import test from 'node:test'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { spawnNode } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { count } from '../scenarios.ts'
import type { HangingConfig } from './hanging-producer.ts'

/** Long enough to be looked at on a busy machine, and no longer than the test waits. */
const TRANSACTION_MS = 20_000

test('waits for the transaction of a producer that was killed, and drains when Kafka gives it up; what it wrote is never seen', async (t) => {
  const log = await sharedKafka()
  const run = await ChaosRun.begin(t, {
    name: 'a hanging transaction',
    database: await testDatabase(t),
    log,
    partitions: 1,
  })
  await run.worker().ready()
  await run.producer.produce(20)
  await run.quiet(40_000)
  const told: HangingConfig = {
    brokers: log.brokers,
    topic: run.topic,
    records: 5,
    transactionTimeoutMs: TRANSACTION_MS,
  }
  const hanging = spawnNode(t, new URL('./hanging-producer.ts', import.meta.url), {
    env: { CHAOS_HANGING: JSON.stringify(told) },
  })
  const at = Date.now()
  await hanging.waitFor('written')
  hanging.kill('SIGKILL')
  const { signal } = await hanging.exited
  await run.producer.produce(20)
  const next = async (): Promise<number> =>
    count(run, 'select next_offset::int as n from millrace.position')
  const [range] = await run.millrace.log.offsets(
    (await run.millrace.log.topic(run.topic))?.id ?? '',
  )
  const [held] = await listConsumers(run.pool, run.millrace.log, { topic: run.topic })
  assert.match(held?.reason ?? '', /still open holds back what stands from offset 20 up to 45/)
  assert.deepEqual([held?.lag, held?.heldBack], [0n, 25n])
  const stuck = await next()
  // Nobody but Kafka ends it.
  await eventually(async () => (await next()) >= 45)
  run.fault('SIGKILL', 'a producer in a transaction', at, {
    seen: signal === 'SIGKILL' && stuck === 20 && range?.end === 20n && range.appendOffset === 45n,
    text: `ended by ${signal}; the position stayed at ${stuck}, what is decided ends at ${range?.end} of ${range?.appendOffset}`,
  })
  await run.producer.produce(20)
  await run.quiet(40_000)
  await run.pass()
})

test('handles the same event twice when it was appended twice, each in its place', async (t) => {
  const run = await ChaosRun.begin(t, {
    name: 'events appended twice',
    database: await testDatabase(t),
    log: await sharedKafka(),
    partitions: 2,
  })
  await run.worker().ready()
  const at = Date.now()
  await run.producer.produce(60, { copies: 2 })
  await run.producer.produce(20)
  await run.quiet(40_000)
  const topic = await run.kafka?.topic()
  const ends = topic?.partitions.map(({ end }) => end) ?? []
  run.fault('appended twice', run.topic, at, {
    seen: ends.reduce((sum, end) => sum + end, 0n) === 140n,
    text: `60 events twice, 20 once: the partitions end at ${ends.join()}`,
  })
  const { records } = await run.pass()
  assert.equal(records.length, 140)
})

test('goes by offsets, whatever the times of the records say', async (t) => {
  const log = await sharedKafka()
  const decade = 10 * 365 * 24 * 3_600_000
  const run = await ChaosRun.begin(t, {
    name: 'shuffled times',
    database: await testDatabase(t),
    log: { ...log, topicConfigs: { 'message.timestamp.after.max.ms': '9223372036854775807' } },
    partitions: 2,
  })
  await run.worker().ready()
  const at = Date.now()
  await run.producer.produce(100, {
    timestamp: (n) => new Date(n % 7 === 0 ? 0 : at + (((n * 7_919) % 200) - 100) * (decade / 100)),
  })
  await run.quiet(40_000)
  const topic = await run.millrace.log.topic(run.topic)
  const times: number[] = []
  for (const partition of [0, 1]) {
    // A read gives what one answer of the broker holds.
    for (let offset = 0n; ; ) {
      const [result] = await run.millrace.log.read([
        { topic: run.topic, topicId: topic?.id ?? '', partition, offset },
      ])
      if (result === undefined || result.nextOffset === offset) break
      times.push(...result.records.map(({ timestamp }) => timestamp.getTime()))
      offset = result.nextOffset
    }
  }
  assert.equal(times.length, 100)
  run.fault('shuffled times', run.topic, at, {
    seen: Math.max(...times) > at + decade / 2 && Math.min(...times) < at - decade / 2,
    text: `from ${new Date(Math.min(...times)).toISOString()} to ${new Date(Math.max(...times)).toISOString()}`,
  })
  await run.pass()
})
