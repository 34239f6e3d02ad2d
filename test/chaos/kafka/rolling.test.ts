import test from 'node:test'
import { sharedKafka } from '../../support/kafka.ts'
import { newVersionRolledOut } from '../rolling.ts'

test('keeps every promise while a new version of an event is rolled out, readers first', async (t) => {
  const run = await newVersionRolledOut(t, { log: await sharedKafka() })
  await run.pass()
})
