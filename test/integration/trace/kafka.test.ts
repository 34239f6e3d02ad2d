import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { trace, type Timeline } from '../../../src/trace/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const schema = z.object({ n: z.int() })

function shape({ nodes }: Timeline): string[] {
  return nodes.map(({ type, label, state }) => `${type} ${label}: ${state}`)
}

test('on Kafka an event is found by its id through the time in it, among others, with what followed', async (t) => {
  const { brokers } = await sharedKafka()
  const { url } = await testDatabase(t)
  const id = randomUUID().slice(0, 8)
  const key = ({ n }: z.infer<typeof schema>): string => `k-${n % 7}`
  const placed = event('order.placed', { topic: `orders-${id}`, source: 'shop', schema, key })
  const packed = event('order.packed', { topic: `parcels-${id}`, source: 'stock', schema, key })
  const pack = job('pack', {
    args: schema,
    async handle({ n }, { publish, transaction, effect }) {
      effect('label.printed', { n })
      // Through the outbox.
      if (n % 2 === 0) await transaction((tx) => tx.publish(packed, { n }))
      else await publish(packed, { n })
    },
  })
  const log = kafka({ brokers })
  const millrace = await running(t, {
    database: url,
    log,
    run: [
      application(`stock-${id}`).on(
        placed,
        toJob(pack, ({ data }) => data),
      ),
      application(`post-${id}`).on(
        packed,
        inTransaction(() => {}),
      ),
    ],
  })
  const ids: string[] = []
  for (let n = 0; n < 40; n += 1) ids.push(await millrace.publish(placed, { n }))
  await settled(millrace)
  const operator = await connectOperator({ database: url, log })
  cleanup(t, () => operator.close())
  for (const one of [ids[10], ids[11]] as string[]) {
    const timeline = await eventually(async () => {
      const found = await trace(operator, one)
      assert.deepEqual(shape(found), [
        'event order.placed: in the log',
        `application stock-${id}: handled`,
        'job pack: completed',
        'effect label.printed: declared',
        'event order.packed: in the log',
        `application post-${id}: done`,
      ])
      return found
    })
    assert.deepEqual([timeline.nodes[0]?.ref.eventId, timeline.nodes[0]?.asked], [one, true])
    const next = timeline.nodes[4]
    assert.deepEqual(shape(await trace(operator, String(next?.ref.eventId))), shape(timeline))
    assert.deepEqual(shape(await trace(operator, String(next?.id))), shape(timeline))
  }
  await assert.rejects(trace(operator, operator.core.ids.uuid()), { code: 'E_TRACE_NOT_FOUND' })
})

test('an event that is still in the outbox says so', async (t) => {
  const { brokers } = await sharedKafka()
  const { url } = await testDatabase(t)
  const topic = `letters-${randomUUID().slice(0, 8)}`
  const sent = event('letter.sent', { topic, source: 'post', schema, key: () => null })
  const log = kafka({ brokers })
  const millrace = await running(t, {
    database: url,
    log,
    relay: false,
    topics: { [topic]: { partitions: 1 } },
  })
  const id = await millrace.transaction((tx) => tx.publish(sent, { n: 1 }))
  const operator = await connectOperator({ database: url, log })
  cleanup(t, () => operator.close())
  const timeline = await trace(operator, id)
  assert.deepEqual(shape(timeline), ['event letter.sent: in the outbox'])
  assert.equal(timeline.finishedAt, null)
})

test('among many records of the same seconds an event is looked for from its own time outwards', async (t) => {
  const { brokers } = await sharedKafka()
  const { url } = await testDatabase(t)
  const topic = `busy-${randomUUID().slice(0, 8)}`
  const log = kafka({ brokers })
  const operator = await connectOperator({ database: url, log })
  cleanup(t, () => operator.close())
  const opened = await operator.log()
  await opened.createTopic(topic, { partitions: 1 })
  // An id of a minute ago, in the middle of 14 seconds with 1,000 records each.
  const at = Date.now() - 60_000
  const time = at.toString(16).padStart(12, '0')
  const id = (n: number): string =>
    `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${String(n).padStart(12, '0')}`
  const records = Array.from({ length: 14_000 }, (_, n) => ({
    topic,
    key: null,
    value: null,
    headers: [['ce_id', Buffer.from(n === 7_000 ? id(1) : `other-${n}`)] as const],
    timestamp: new Date(at - 7_000 + n),
  }))
  await opened.append(records)
  const found = await trace(operator, id(1))
  assert.equal(found.nodes[0]?.id, `${topic}/0/7000`)
  // What was not looked through on the way to something that was found is nobody's concern.
  assert.equal(found.nodes[0].asked, true)
  await assert.rejects(trace(operator, id(2)), (error: Error) => {
    assert.match(error.message, /a partition has more than 5000 records; the rest of them were not/)
    assert.doesNotMatch(error.message, /every topic/)
    return true
  })
})
