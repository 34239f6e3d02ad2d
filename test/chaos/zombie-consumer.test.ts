import test from 'node:test'
import { fencedConsumer, stoppedConsumer } from './scenarios.ts'

test('writes nothing after a stop past the take-over, and takes part again under a new id', async (t) => {
  const run = await stoppedConsumer(t)
  await run.pass()
})

test('refuses the batch of a consumer that was replaced while its transaction was open', async (t) => {
  const run = await fencedConsumer(t)
  await run.pass()
})
