import test from 'node:test'
import { sharedKafka } from '../../support/kafka.ts'
import { allDieAtOnce, handOvers, moreProcessesThanPartitions } from '../many-processes.ts'

test('keeps every promise on Kafka through twenty hand-overs under load', async (t) => {
  const run = await handOvers(t, { log: await sharedKafka() })
  await run.pass()
})

test('lets idle processes take over when those that read Kafka are killed', async (t) => {
  const run = await moreProcessesThanPartitions(t, { log: await sharedKafka() })
  await run.pass()
})

test('comes to rest after all who read Kafka died at once', async (t) => {
  const run = await allDieAtOnce(t, { log: await sharedKafka() })
  await run.pass()
})
