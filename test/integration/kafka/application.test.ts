import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { Admin } from '@platformatic/kafka'
import { z } from 'zod'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { job } from '../../../src/jobs/job.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import type { Topic } from '../../../src/log/port.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

test('an application reads Kafka, and Kafka’s own tools see how far it is', async (t) => {
  const { brokers } = await sharedKafka()
  const { url } = await testDatabase(t)
  const handled: number[] = []
  const remember = job('remember', {
    args: z.object({ n: z.int() }),
    handle: ({ n }) => void handled.push(n),
  })
  const sale = foreign('tills', { schema: z.object({ n: z.int() }) })
  const millrace = await running(t, {
    database: url,
    log: kafka({ brokers }),
    topics: { tills: { partitions: 3 } },
    run: [
      application('bookkeeping').on(
        sale,
        toJob(remember, ({ data }) => data),
      ),
    ],
  })
  const counts = new Map<number, bigint>()
  let appended = 0
  const sell = async (count: number): Promise<void> => {
    const some = Array.from({ length: count }, (_, i) => {
      const value = Buffer.from(JSON.stringify({ n: appended + i }))
      return { topic: 'tills', key: Buffer.from(`till-${i % 17}`), value, headers: [] }
    })
    appended += count
    for (const { partition } of await millrace.log.append(some)) {
      counts.set(partition, (counts.get(partition) ?? 0n) + 1n)
    }
    await settled(millrace)
  }
  const admin = new Admin({ clientId: 'lag-tool', bootstrapBrokers: [...brokers] })
  cleanup(t, async () => admin.close())
  const seenByKafka = (): Promise<unknown> =>
    eventually(async () => {
      const [group] = await admin.listConsumerGroupOffsets({ groups: ['bookkeeping'] })
      const seen = new Map(
        group?.topics[0]?.partitions.map((one) => [one.partitionIndex, one.committedOffset]),
      )
      assert.deepEqual([...seen].sort(), [...counts].sort())
      return true
    })

  await sell(1_000)
  await seenByKafka()
  for (const { position, end, lag } of await listConsumers(millrace.database, millrace.log)) {
    assert.deepEqual([position, lag], [end, 0n])
  }
  // Stopped at once: the last are sent before the partitions are given back.
  await sell(300)
  await millrace.stop()
  await seenByKafka()
  assert.deepEqual(
    handled.toSorted((a, b) => a - b),
    Array.from({ length: appended }, (_, n) => n),
  )
})

test('topics asked for by name and by id in one breath are all found', async (t) => {
  const maker = await kafkaLog(t, await sharedKafka())
  const make = (): Promise<Topic> => maker.createTopic(`breath-${randomUUID()}`, { partitions: 1 })
  const [first, byName, byId] = await Promise.all([make(), make(), make()])
  // It knows no topic yet, so it has to ask; what is asked for while a question is under way goes out together.
  const log = await kafkaLog(t, await sharedKafka())
  const [, found, offsets] = await Promise.all([
    log.topic(first.name),
    log.topic(byName.name),
    log.offsets(byId.id),
  ])
  assert.equal(found?.id, byName.id)
  assert.equal(offsets.length, 1)
})
