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
