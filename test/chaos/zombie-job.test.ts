import test from 'node:test'
import { CALL, RECORD } from './application.ts'
import { stoppedAndDiscarded, stoppedJob, upkeepReplaced } from './scenarios.ts'

test('notes the result of a job that was stopped past the take-over as late', async (t) => {
  const run = await stoppedJob(t, CALL)
  await run.pass()
})

test('rolls back the transaction of a job that was stopped past the take-over', async (t) => {
  const run = await stoppedJob(t, RECORD)
  await run.pass()
})

test('notes the result of a job that was discarded meanwhile as late', async (t) => {
  const run = await stoppedAndDiscarded(t)
  await run.pass()
})

test('takes back the jobs of a dead process and leaves those of living ones alone', async (t) => {
  const run = await upkeepReplaced(t)
  await run.pass()
})
