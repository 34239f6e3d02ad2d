import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Admin } from '@platformatic/kafka'
import type pg from 'pg'
import { z } from 'zod'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { listConsumers, listGaps, type Gap } from '../../../src/consumer/queries.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { job } from '../../../src/jobs/job.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import type { Log } from '../../../src/log/port.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { loseHalf } from '../../support/kafka-tail.ts'
import { testKafka, type Kafka, type KafkaNode } from '../../support/kafka.ts'
import { keepingLogger, running, type LogLine } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const TOPIC = 'tills'
const sale = foreign(TOPIC, { schema: z.object({ n: z.int() }) })

interface Bed {
  readonly pool: pg.Pool
  /** Another process' log. */
  readonly log: Log
  readonly lines: readonly LogLine[]
  /** What was made of the records, by their numbers. */
  readonly handled: readonly number[]
  /** Appends records, ten at a time. */
  write(from: number, to: number): Promise<void>
  look(): Promise<{ readonly state: string; readonly reason: string | null } | undefined>
}

/** An application that makes a job of every record, and waits while one is not finished. */
async function bed(t: TestContext, cluster: Kafka, finished: Promise<void>): Promise<Bed> {
  const { url, pool } = await testDatabase(t)
  const log = await kafkaLog(t, cluster, { requestTimeoutMs: 3_000, deliveryTimeoutMs: 20_000 })
  await log.createTopic(TOPIC, { partitions: 1 })
  const write = async (from: number, to: number): Promise<void> => {
    for (let n = from; n < to; n += 10) {
      const ten = Array.from({ length: Math.min(10, to - n) }, (_, i) => n + i)
      await log.append(
        ten.map((one) => {
          const value = Buffer.from(JSON.stringify({ n: one }))
          return { topic: TOPIC, key: null, value, headers: [] }
        }),
      )
    }
  }
  await write(0, 100)
  const handled: number[] = []
  const logger = keepingLogger()
  const hold = job('hold', {
    args: z.object({ n: z.int() }),
    handle: async ({ n }) => {
      await finished
      handled.push(n)
    },
  })
  const millrace = await running(t, {
    database: url,
    logger,
    log: kafka({ brokers: cluster.brokers, requestTimeoutMs: 3_000 }),
    run: [
      application('app', { batchRecords: 40, backlog: { pauseAt: 1, resumeAt: 0 } }).on(
        sale,
        toJob(hold, ({ data }) => data),
      ),
    ],
  })
  const look = async (): ReturnType<Bed['look']> =>
    (await listConsumers(millrace.database, millrace.log))[0]
  return { pool, log, lines: logger.lines, handled, write, look }
}

test('what was read ahead of a tail that is lost meanwhile hides nothing of what has grown there', async (t) => {
  const cluster = await testKafka(t)
  const { promise, resolve } = Promise.withResolvers<void>()
  const { pool, log, look, write } = await bed(t, cluster, promise)
  // 0 … 39 are jobs, 40 … 79 wait for them, 80 … 99 are read ahead.
  await eventually(async () => /backlog of 40/.test((await look())?.reason ?? ''))
  await loseHalf(cluster.nodes[0] as KafkaNode, TOPIC)
  const { id = '' } = (await log.topic(TOPIC)) ?? {}
  const end = async (): Promise<bigint> => (await log.offsets(id))[0]?.appendOffset ?? 0n
  const left = await eventually(end)
  assert.ok(left > 40n && left < 80n, `${left} of 100 records are left`)
  await write(1_000, 1_100)
  resolve()
  const gap = (await eventually(async () => (await listGaps(pool, { open: true }))[0])) as Gap
  assert.equal(gap.code, 'diverged')
  const { rows } = await pool.query('select from millrace.batch where last_offset > 99')
  assert.equal(rows.length, 0)
})

test('a leader that moves in good order, and one that dies, are no reason to stop', async (t) => {
  const cluster = await testKafka(t, { brokers: 3 })
  const { pool, lines, handled, write, look } = await bed(t, cluster, Promise.resolve())
  const admin = new Admin({ clientId: 'admin', bootstrapBrokers: [...cluster.brokers] })
  cleanup(t, async () => admin.close())
  const leader = async (): Promise<KafkaNode | undefined> => {
    const { topics } = await admin.metadata({ topics: [TOPIC], forceUpdate: true })
    const id = topics.get(TOPIC)?.partitions[0]?.leader
    return cluster.nodes.find((node) => node.id === id)
  }
  const looks = (): number =>
    lines.filter(({ message }) => /may come from another log/.test(message)).length
  await eventually(() => handled.length === 100)
  let written = 100
  let looked = looks()
  for (const end of ['stop', 'kill9'] as const) {
    const victim = (await leader()) as KafkaNode
    await victim[end]()
    await eventually(async () => {
      const now = await leader()
      return now !== undefined && now !== victim
    })
    await write(written, written + 30)
    written += 30
    await eventually(() => handled.length === written)
    await eventually(() => looks() > looked)
    looked = looks()
    await victim.restart()
  }
  assert.deepEqual(
    handled.toSorted((a, b) => a - b),
    Array.from({ length: written }, (_, n) => n),
  )
  assert.equal((await listGaps(pool)).length, 0)
  assert.equal((await look())?.state, 'reading')
})
