import { startKafka, type Kafka } from '../../tools/kafka/start.ts'
import type { KafkaOptions } from '../../tools/kafka/options.ts'
import { cleanup, type TestScope } from './cleanup.ts'

export type { Kafka } from '../../tools/kafka/start.ts'
export type { KafkaNode } from '../../tools/kafka/node.ts'

let shared: Promise<Kafka> | undefined

/**
 * One plain broker for all tests of this process, started by the first that asks; it ends with the process. Tests on it
 * keep apart by their topics' names.
 */
export async function sharedKafka(): Promise<Kafka> {
  shared ??= startKafka()
  return shared
}

/** A cluster of this test alone, which may kill, pause and stop what it likes; stopped at the test's end. */
export async function testKafka(t: TestScope, options: KafkaOptions = {}): Promise<Kafka> {
  const kafka = await startKafka(options)
  cleanup(t, async () => kafka.stop())
  return kafka
}
