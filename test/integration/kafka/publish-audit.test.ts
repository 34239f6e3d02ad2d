import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import { prepareEvent, publishPrepared } from '../../../src/app/operator-publish.ts'
import { listActions } from '../../../src/control/queries.ts'
import { event } from '../../../src/events/event.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'

test('what an operator publishes to Kafka is in the audit with its outcome, also when nothing came of it', async (t) => {
  const { pool } = await testDatabase(t)
  const { brokers } = await sharedKafka()
  const operator = await connectOperator({
    database: pool,
    user: 'ana@desk',
    log: kafka({ brokers }),
  })
  cleanup(t, () => operator.close())
  const topic = `audited-${operator.core.ids.uuid()}`
  const sold = event('SOLD', { source: 'TEST', topic, schema: z.object({ id: z.string() }) })
  const publish = async (): Promise<string> => {
    const prepared = await prepareEvent(operator, sold, { id: 'a' })
    await publishPrepared(operator, [prepared], { type: 'SOLD', reason: 'a test' })
    return prepared.id
  }
  await assert.rejects(publish(), { code: 'E_LOG_UNKNOWN_TOPIC' })
  const log = await operator.log()
  await log.createTopic(topic, { partitions: 1 })
  cleanup(t, () => log.deleteTopic(topic))
  const id = await publish()
  const actions = await listActions(pool)
  assert.deepEqual(
    actions.map(({ operator: who, action, count, detail }) => [
      who,
      action,
      count,
      (detail as { outcome: string }).outcome,
    ]),
    [
      ['ana@desk', 'events.publish', 1, 'published'],
      ['ana@desk', 'events.publish', 0, 'nothing published: E_LOG_UNKNOWN_TOPIC'],
    ],
  )
  assert.deepEqual((actions[0] as { readonly detail: unknown }).detail, {
    outcome: 'published',
    ids: [id],
  })
})
