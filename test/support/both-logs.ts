import { randomBytes } from 'node:crypto'
import type { LogFactory } from '../../src/log/factory.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { cleanup, type TestScope } from './cleanup.ts'
import { kafkaLog } from './kafka-log.ts'
import { sharedKafka } from './kafka.ts'

/** Where the events of one test are. */
export interface LogInUse {
  /** Name of a topic that is not there yet and that no other test has; what is made of it ends with the test. */
  readonly topic: string
  /** What `start` and `connectOperator` are given. */
  readonly options: { readonly log?: LogFactory }
}

/** A log that a test runs on. */
export interface TestedLog {
  /** For titles: `on …`. */
  readonly name: string
  /** @param topic what the topic is called, or begins with where other tests are on the same log */
  use(t: TestScope, topic: string): Promise<LogInUse>
}

/** Most bytes that one record may have on Kafka in these tests. */
const MAX_RECORD_BYTES = 8_000_000

/** The log in the tables of the test's own database. */
export const TABLE_LOG: TestedLog = {
  name: 'the table log',
  use: (_, topic) => Promise.resolve({ topic, options: {} }),
}

/** The broker that the tests of a run share. */
const KAFKA_LOG: TestedLog = {
  name: 'Kafka',
  async use(t, prefix) {
    const { brokers } = await sharedKafka()
    const topic = `${prefix}-${randomBytes(6).toString('hex')}`
    const log = await kafkaLog(t, { brokers })
    cleanup(t, () => log.deleteTopic(topic))
    const topicConfigs = {
      'max.message.bytes': String(MAX_RECORD_BYTES),
      // Tests write records of other days, which a broker with a retention of some days deletes within minutes.
      'retention.ms': '-1',
    }
    return {
      topic,
      options: { log: kafka({ brokers, maxRecordBytes: MAX_RECORD_BYTES, topicConfigs }) },
    }
  },
}

/** Both logs: what holds on one must hold on the other. */
export const BOTH_LOGS: readonly TestedLog[] = [TABLE_LOG, KAFKA_LOG]
