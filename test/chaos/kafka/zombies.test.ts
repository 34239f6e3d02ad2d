import test from 'node:test'
import { sharedKafka } from '../../support/kafka.ts'
import { blockedLoop } from '../many-processes.ts'
import { fencedConsumer, stoppedConsumer } from '../scenarios.ts'

test('writes nothing of Kafka after a stop past the take-over, and takes part again under a new id', async (t) => {
  const run = await stoppedConsumer(t, { log: await sharedKafka() })
  await run.pass()
})

test('refuses a batch of Kafka whose consumer was replaced while its transaction was open', async (t) => {
  const run = await fencedConsumer(t, { log: await sharedKafka() })
  await run.pass()
})

test('goes on elsewhere while the event loop of one who reads Kafka is blocked', async (t) => {
  const run = await blockedLoop(t, { log: await sharedKafka() })
  await run.pass()
})
