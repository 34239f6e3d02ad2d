import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Admin, type AdminOptions } from '@platformatic/kafka'
import { isAlive } from '../../../tools/kafka/lock.ts'
import { cleanup, type TestScope } from '../../support/cleanup.ts'
import { sharedKafka, testKafka, type Kafka, type SharedKafka } from '../../support/kafka.ts'
import { spawnNode } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'

const scenario = new URL('./broker-scenario.ts', import.meta.url)

function admin(t: TestScope, kafka: SharedKafka, options: Partial<AdminOptions> = {}): Admin {
  const bootstrapBrokers = [...kafka.brokers]
  const made = new Admin({ clientId: 'test', bootstrapBrokers, retries: 0, ...options })
  cleanup(t, async () => made.close())
  return made
}

test('answers all test files of a run from one broker', async (t) => {
  const kafka = await sharedKafka()
  assert.deepEqual(await sharedKafka(), kafka)
  const topic = `shared-${process.pid}`
  await admin(t, kafka).createTopics({ topics: [topic], partitions: 1 })
  assert.ok((await admin(t, kafka).listTopics()).includes(topic))
})

test('keeps its topics when it is killed and started again', async (t) => {
  const kafka = await testKafka(t)
  await admin(t, kafka).createTopics({ topics: ['kept'], partitions: 3 })
  const node = kafka.nodes[0]!
  const { pid, port } = node
  await node.kill9()
  assert.equal(node.pid, undefined)
  await node.restart()
  assert.notEqual(node.pid, pid)
  assert.equal(node.port, port)
  assert.deepEqual(await admin(t, kafka).listTopics(), ['kept'])
})

test('says nothing while it is paused, and goes on where it stopped', async (t) => {
  const kafka = await testKafka(t)
  const node = kafka.nodes[0]!
  node.pause()
  const impatient = admin(t, kafka, { connectTimeout: 1_000, requestTimeout: 1_000 })
  await assert.rejects(impatient.listTopics())
  node.resume()
  assert.deepEqual(await eventually(async () => admin(t, kafka).listTopics()), [])
})

test('moves a leader to another of three brokers when its own is killed', async (t) => {
  const kafka = await testKafka(t, { brokers: 3 })
  const client = admin(t, kafka)
  await client.createTopics({ topics: ['moving'], partitions: 1 })
  const leader = async (): Promise<number> => {
    const { topics } = await client.metadata({ topics: ['moving'], forceUpdate: true })
    return topics.get('moving')!.partitions[0]!.leader
  }
  const before = await eventually(leader)
  await kafka.nodes[before - 1]!.kill9()
  const later = await eventually(async () => {
    const now = await leader()
    return now !== before && now
  })
  assert.notEqual(later, before)
  await kafka.nodes[before - 1]!.restart()
})

test('tells clients the port of a proxy instead of its own', async (t) => {
  const asked: number[] = []
  const kafka = await testKafka(t, {
    advertise: (port) => {
      asked.push(port)
      return 9
    },
  })
  const { port } = kafka.nodes[0]!
  assert.deepEqual(asked, [port])
  assert.deepEqual(kafka.brokers, ['127.0.0.1:9'])
  const direct: SharedKafka = { brokers: [`127.0.0.1:${port}`] }
  const { brokers } = await admin(t, direct).metadata({ topics: [] })
  assert.deepEqual(
    Array.from(brokers.values(), (broker) => broker.port),
    [9],
  )
})

test('ends with the process that started it, even when that is killed', async (t) => {
  const process = spawnNode(t, scenario)
  const { pid, directory } = await process.waitFor('started', { timeoutMs: 120_000 })
  assert.ok(isAlive(Number(pid)))
  process.kill('SIGKILL')
  await eventually(() => !isAlive(Number(pid)) && !existsSync(String(directory)))
})

test('keeps the data in a folder that it was given', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-test-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const process = spawnNode(t, scenario, { args: [directory] })
  const { pid } = await process.waitFor('started', { timeoutMs: 120_000 })
  process.kill('SIGKILL')
  await eventually(() => !isAlive(Number(pid)))
  const before = clusterId(await testKafka(t, { directory }))
  assert.equal(await before, await clusterId(await testKafka(t, { directory, persistent: true })))
})

async function clusterId(kafka: Kafka): Promise<string> {
  const client = admin({ after: () => undefined }, kafka)
  try {
    return (await client.metadata({ topics: [] })).id
  } finally {
    await client.close()
    await kafka.stop()
  }
}

test('shows the end of its log when it does not start', async (t) => {
  const starting = testKafka(t, { properties: { 'num.io.threads': 'many' } })
  await assert.rejects(starting, { name: 'KafkaToolProblem', message: /num\.io\.threads/ })
})
