import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { listConsumers, type ConsumerSummary } from '../../../src/consumer/queries.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import type { Log, NewRecord } from '../../../src/log/port.ts'
import { testDatabase } from '../../support/database.ts'
import { flipBytes } from '../../support/flip-bytes.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { testKafka, type Kafka, type KafkaNode } from '../../support/kafka.ts'
import { keepingLogger, running, type LogLine } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const sale = foreign('tills', { schema: z.object({ n: z.int() }) })

function record(n: number, partition: number): NewRecord {
  const value = Buffer.from(JSON.stringify({ n }))
  return { topic: 'tills', key: null, value, headers: [], partition }
}

/** An application that notes what it handles. */
async function bookkeeping(
  t: TestContext,
  cluster: Kafka,
): Promise<{
  readonly handled: readonly number[]
  readonly lines: readonly LogLine[]
  readonly look: (partition: number) => Promise<ConsumerSummary>
}> {
  const { url } = await testDatabase(t)
  const handled: number[] = []
  const logger = keepingLogger()
  const millrace = await running(t, {
    database: url,
    logger,
    log: kafka({ brokers: cluster.brokers, requestTimeoutMs: 2_000 }),
    run: [
      application('bookkeeping').on(
        sale,
        inTransaction(({ data }) => {
          handled.push(data.n)
        }),
      ),
    ],
  })
  const look = async (partition: number): Promise<ConsumerSummary> => {
    const all = await listConsumers(millrace.database, millrace.log)
    return all.find((one) => one.partition === partition) as ConsumerSummary
  }
  return { handled, lines: logger.lines, look }
}

async function tills(t: TestContext, cluster: Kafka): Promise<Log> {
  const log = await kafkaLog(t, cluster)
  await log.createTopic('tills', { partitions: 2 })
  return log
}

test('a partition is stopped before bytes that cannot be read, and the other goes on', async (t) => {
  const cluster = await testKafka(t)
  const log = await tills(t, cluster)
  for (const n of [100, 200, 300]) await log.append([record(n, 0)])
  await flipBytes(cluster, 'tills-0', '{"n":200}', '{"n":900}')
  const { handled, look } = await bookkeeping(t, cluster)
  const stopped = await eventually(async () => {
    const one = await look(0)
    return one.state === 'halted' ? one : undefined
  })
  assert.equal(stopped?.position, 1n)
  assert.match(stopped?.reason ?? '', /batch at offset 1 cannot be read: its checksum/)
  await log.append([record(1, 1)])
  await eventually(() => handled.includes(1))
  assert.deepEqual(handled, [100, 1])
})

test('a partition that cannot be read says why, and goes on by itself', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const log = await tills(t, cluster)
  const { handled, lines, look } = await bookkeeping(t, cluster)
  await log.append([record(1, 0)])
  await eventually(() => handled.length === 1)
  await node.kill9()
  await eventually(async () => {
    const waiting = await look(0).catch(() => undefined)
    return waiting?.state === 'waiting' && waiting.reason !== null && waiting.end === null
  })
  await node.restart()
  await eventually(async () => log.append([record(2, 0)]))
  await eventually(() => handled.length === 2)
  await eventually(async () => (await look(0)).state === 'reading')
  const said = (message: RegExp): LogLine[] =>
    lines.filter(({ fields, message: text }) => fields['partition'] === 0 && message.test(text))
  assert.equal(said(/cannot be read just now/).length, 1)
  assert.equal(said(/can be read again/).length, 1)
  assert.equal(said(/failed|stopped/).length, 0)
  // Another process of the broker may have another log, so it was looked whether it has.
  assert.ok(said(/may come from another log/).length > 0)
})
