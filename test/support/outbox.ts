import { inspect } from 'node:util'
import type { StartOptions } from '../../src/app/options.ts'
import { start, type Millrace } from '../../src/app/start.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { listOutbox } from '../../src/outbox/queries.ts'
import { cleanup, type TestScope } from './cleanup.ts'
import { javaReadCommitted } from './java-peer.ts'
import { keepingLogger, type LogLine } from './millrace.ts'
import { eventually, type EventuallyOptions } from './wait.ts'

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
 * Everything that is committed in a topic, read by a client that is not ours, in order per partition. Apache's own: KafkaJS
 * was seen to give records of aborted transactions as well.
 */
export async function readCommitted(
  brokers: readonly string[],
  topic: string,
): Promise<SeenRecord[]> {
  return (await javaReadCommitted(brokers, topic)).map(
    ({ partition, offset, key, value, headers = [], timestamp }) => ({
      topic,
      partition,
      offset: BigInt(offset),
      key,
      value,
      headers: Object.fromEntries(headers.map(([name, text]) => [name, text ?? ''])),
      timestamp,
    }),
  )
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
  options: StartOptions,
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
export async function relayed(millrace: Millrace, options: EventuallyOptions = {}): Promise<void> {
  await eventually(async () => {
    const { outbox, outboxAgeMs } = await millrace.summary()
    if (outbox === 0 && outboxAgeMs === null) return true
    const shards = await listOutbox(millrace.database)
    throw new Error(`${outbox} records are left: ${inspect(shards)}`)
  }, options)
}
