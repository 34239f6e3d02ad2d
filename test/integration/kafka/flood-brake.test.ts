import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { application } from '../../../src/consumer/application.ts'
import { listGaps, resumeConsumers } from '../../../src/consumer/queries.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { flooded, newOrders, orderedIn, orders, store } from '../../support/flooded.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'

const APP = { application: 'app' } as const

test('a flood of failures from Kafka stops every partition before a dead letter, and is handled by fixed code', async (t) => {
  const log = kafka({ brokers: (await sharedKafka()).brokers })
  const topic = `flooded-${randomBytes(4).toString('hex')}`
  const { ordered1, ordered2 } = orderedIn(topic)
  const all = await flooded(t, { partitions: 3, topic, log })
  cleanup(t, () => all.producer.log.deleteTopic(topic))
  await all.producer.publishMany(ordered1, orders(0, 60))
  await all.producer.publishMany(ordered2, newOrders(60, 660))
  const old = await all.start(application('app').on(ordered1, store))
  const stops = await all.stopped(3)
  assert.ok(stops.every(({ position, flood }) => String(position) === flood.offset))
  await resumeConsumers(all.operator, APP)
  await eventually(async () => (await listGaps(all.pool, APP)).length === 6)
  await all.stopped(3)
  assert.deepEqual([await all.deadLetters(), (await all.done()).length], [0, 60])
  await old.millrace.stop()
  await resumeConsumers(all.operator, APP)
  await all.start(application('app').on(ordered2, store))
  await all.caughtUp()
  const done = await all.done()
  assert.equal(new Set(done.map(({ n }) => n)).size, 660)
  assert.deepEqual([await all.deadLetters(), done.length], [0, 660])
})
