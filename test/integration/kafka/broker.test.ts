import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Admin, type AdminOptions } from '@platformatic/kafka'
import { cleanup, type TestScope } from '../../support/cleanup.ts'
import { testKafka, type Kafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'

function admin(t: TestScope, kafka: Kafka, options: Partial<AdminOptions> = {}): Admin {
  const made = new Admin({
    clientId: 'test',
    bootstrapBrokers: [...kafka.brokers],
    retries: 0,
    ...options,
  })
  cleanup(t, async () => made.close())
  return made
}

test('keeps its topics when it is killed and started again', async (t) => {
  const kafka = await testKafka(t)
  const client = admin(t, kafka)
  await client.createTopics({ topics: ['kept'], partitions: 3 })
  const [node] = kafka.nodes
  assert.ok(node)
  const { pid, port } = node
  await node.kill9()
  assert.equal(node.pid, undefined)
  await node.restart()
  assert.notEqual(node.pid, pid)
  assert.equal(node.port, port)
  const topics = await eventually(async () => admin(t, kafka).listTopics())
  assert.deepEqual(topics, ['kept'])
})
