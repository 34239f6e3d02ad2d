import { randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import type { StartOptions } from '../../src/app/options.ts'
import { start, type Millrace } from '../../src/app/start.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { listOutbox } from '../../src/outbox/queries.ts'
import { cleanup, type TestScope } from './cleanup.ts'
import { keepingLogger, type LogLine } from './millrace.ts'
import { eventually } from './wait.ts'

/** A record as a stranger's client has read it. */
export interface SeenRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly key: string | null
  readonly value: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly timestamp: number
}

/**
 * Everything that is committed in a topic, read by a client that is not ours. It is read up to a mark that is then written
 * to each partition, so nothing that was committed before the call is missed.
 */
export async function readCommitted(
  brokers: readonly string[],
  topic: string,
): Promise<SeenRecord[]> {
  const client = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  const admin = client.admin()
  const producer = client.producer()
  const consumer = client.consumer({ groupId: `read-${randomUUID()}`, maxWaitTimeInMs: 100 })
  // By their place: a client that has to join anew is given some of them again.
  const seen = new Map<string, SeenRecord>()
  const mark = `end-${randomUUID()}`
  try {
    await Promise.all([admin.connect(), producer.connect(), consumer.connect()])
    const partitions = (await admin.fetchTopicOffsets(topic)).map(({ partition }) => partition)
    const messages = partitions.map((partition) => ({ partition, value: mark }))
    await producer.send({ topic, messages })
    const open = new Set(partitions)
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ partition, message }) => {
        if (message.value?.toString() === mark) open.delete(partition)
        else if (open.has(partition)) {
          seen.set(`${partition}/${message.offset}`, seenRecord(topic, partition, message))
        }
        return Promise.resolve()
      },
    })
    await eventually(() => open.size === 0)
    return [...seen.values()].filter(({ value }) => value?.startsWith('end-') !== true)
  } finally {
    await Promise.all([admin.disconnect(), producer.disconnect(), consumer.disconnect()])
  }
}

function seenRecord(
  topic: string,
  partition: number,
  message: {
    readonly offset: string
    readonly key: Buffer | null
    readonly value: Buffer | null
    readonly headers?: Readonly<Record<string, unknown>>
    readonly timestamp: string
  },
): SeenRecord {
  return {
    topic,
    partition,
    offset: BigInt(message.offset),
    key: message.key?.toString() ?? null,
    value: message.value?.toString() ?? null,
    headers: Object.fromEntries(
      Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]),
    ),
    timestamp: Number(message.timestamp),
  }
}

/** A millrace on Kafka, with the lines that it logged. */
export interface KafkaMillrace {
  readonly millrace: Millrace
  readonly lines: readonly LogLine[]
}

/** A millrace on Kafka that takes over quickly, and is stopped with the test. */
export async function onKafka(
  t: TestScope,
  brokers: readonly string[],
  options: Omit<StartOptions, 'log'>,
): Promise<KafkaMillrace> {
  const logger = keepingLogger()
  const millrace = await start({
    log: kafka({ brokers, requestTimeoutMs: 5_000 }),
    takeOverMs: 1_500,
    heartbeatMs: 200,
    stopMs: 1_000,
    logger,
    ...options,
  })
  cleanup(t, () => millrace.stop())
  return { millrace, lines: logger.lines }
}

/** Waits until nothing is left in the outbox. */
export async function relayed(millrace: Millrace): Promise<void> {
  await eventually(async () => {
    const { outbox, outboxAgeMs } = await millrace.summary()
    if (outbox === 0 && outboxAgeMs === null) return true
    const shards = await listOutbox(millrace.database)
    throw new Error(`${outbox} records are left: ${inspect(shards)}`)
  })
}
