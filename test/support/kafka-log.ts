import { createCore } from '../../src/core/core.ts'
import type { Core } from '../../src/core/core.ts'
import { kafka, type KafkaOptions } from '../../src/kafka/kafka.ts'
import type { Log } from '../../src/log/port.ts'
import type { Harness } from '../conformance/log/harness.ts'
import { cleanup, type TestScope } from './cleanup.ts'
import { sharedKafka, type Kafka } from './kafka.ts'

/** A log on a cluster, closed with the test. */
export async function kafkaLog(
  t: TestScope,
  cluster: Pick<Kafka, 'brokers'>,
  { core, ...options }: Partial<KafkaOptions> & { readonly core?: Partial<Core> } = {},
): Promise<Log> {
  // It needs no database.
  const environment = { core: createCore(core), pool: undefined as never }
  const log = await kafka({ brokers: cluster.brokers, ...options }).open(environment)
  cleanup(t, async () => log.close())
  return log
}

/** The shared broker, without topics before and after the test. For files that do not test at the same time. */
export async function kafkaLogHarness(t: TestScope): Promise<Harness> {
  const cluster = await sharedKafka()
  const log = await kafkaLog(t, cluster)
  const peer = await kafkaLog(t, cluster)
  const empty = async (): Promise<void> => {
    for (const { name } of await log.topics()) await log.deleteTopic(name)
  }
  await empty()
  cleanup(t, empty)
  return {
    log,
    peer,
    begin: () => Promise.reject(new Error('Kafka writes in no transaction of a database')),
  }
}
