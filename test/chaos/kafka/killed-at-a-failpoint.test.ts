import test from 'node:test'
import { sharedKafka } from '../../support/kafka.ts'
import type { Trap } from '../failpoints.ts'
import { killed } from '../scenarios.ts'

const PLACES = [
  'batch:prepare',
  'batch:applied',
  'batch:before-position',
  'batch:before-commit',
  'batch:after-commit',
]

test('loses, doubles and misorders nothing of Kafka when workers are killed, each at another place of a batch', async (t) => {
  const traps = PLACES.map((name): Trap => ({ name, count: 1, signal: 'SIGKILL' }))
  const run = await killed(t, traps, { records: 300, log: await sharedKafka() })
  await run.pass()
})
