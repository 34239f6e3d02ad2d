import test from 'node:test'
import { sharedKafka } from '../../support/kafka.ts'
import { sweep } from '../sweep.ts'

test('loses, doubles and misorders nothing of Kafka when a worker is killed that relays as well', {
  concurrency: 3,
}, async (t) => {
  await sweep(t, { log: await sharedKafka() })
})
