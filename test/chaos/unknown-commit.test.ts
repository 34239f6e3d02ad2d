import test from 'node:test'
import { unknownCommits } from './unknown-commits.ts'

test('finds out what became of a COMMIT, whichever way it was lost', async (t) => {
  const run = await unknownCommits(t, ['of a batch', 'of a job', 'of an end', 'of a user'])
  await run.pass()
})
