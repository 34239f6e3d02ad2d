import test from 'node:test'
import { sharedKafka } from '../support/kafka.ts'
import type { Trap } from './failpoints.ts'
import { appendedTwice } from './scenarios.ts'

const PLACES = [
  'batch:prepare',
  'batch:applied',
  'batch:before-position',
  'batch:before-commit',
  'transaction:before-commit',
  'transaction:after-commit',
  'batch:after-commit',
]

for (const log of ['table', 'kafka'] as const) {
  test(`handles events that were appended twice once, whoever is killed, on the ${log} log`, async (t) => {
    const traps = PLACES.map((name, n): Trap => ({ name, count: 1 + (n % 3), signal: 'SIGKILL' }))
    const run = await appendedTwice(t, traps, {
      records: 160,
      ...(log === 'kafka' ? { log: await sharedKafka() } : {}),
    })
    await run.pass()
  })
}
