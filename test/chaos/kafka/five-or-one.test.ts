import test from 'node:test'
import { sharedKafka } from '../../support/kafka.ts'
import { fiveOrOne } from '../many-processes.ts'

test('gives the same result on Kafka with one process, and with five that are killed at random', async (t) => {
  await fiveOrOne(t, { records: 800, kills: 6, log: await sharedKafka() })
})
