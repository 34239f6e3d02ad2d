import test from 'node:test'
import { allDieAtOnce } from './many-processes.ts'

test('comes to rest after all workers died at once, with nothing lost or doubled', async (t) => {
  const run = await allDieAtOnce(t)
  await run.pass()
})
