import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { start } from '../../../src/app/start.ts'
import { job } from '../../../src/jobs/job.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { keepingLogger } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

test('what a handler logs says of which job and attempt, and attempts share one idempotency key', async (t) => {
  const { url } = await testDatabase(t)
  const keys: string[] = []
  const talks = job('talks', {
    args: z.object({}),
    backoff: () => 1,
    handle(_, { logger, attempt, idempotencyKey }) {
      keys.push(idempotencyKey)
      logger.info({ step: 'calling' }, 'hello')
      if (attempt === 1) throw new Error('not this time')
    },
  })
  const logger = keepingLogger()
  const millrace = await start({ database: url, jobs: [talks], logger })
  cleanup(t, () => millrace.stop())
  const jobId = await millrace.insert(talks, {})
  await eventually(async () => (await millrace.summary()).jobsCompleted === 1)
  const said = logger.lines.filter(({ message }) => message === 'hello')
  assert.deepEqual(
    said.map(({ level, fields }) => ({ level, ...fields })),
    [1, 2].map((attempt) => ({ level: 'info', jobId, kind: 'talks', attempt, step: 'calling' })),
  )
  assert.equal(keys.length, 2)
  assert.equal(new Set(keys).size, 1)
})

test('a queue executes as many jobs at once as it may, and never more; another goes on beside it', async (t) => {
  const { url } = await testDatabase(t)
  const running = { narrow: 0, wide: 0 }
  const most = { narrow: 0, wide: 0 }
  const kinds = (['narrow', 'wide'] as const).map((queue) =>
    job(queue, {
      args: z.object({}),
      queue,
      async handle() {
        running[queue] += 1
        most[queue] = Math.max(most[queue], running[queue])
        await sleep(5)
        running[queue] -= 1
      },
    }),
  )
  const millrace = await start({
    database: url,
    jobs: kinds,
    queues: { narrow: 2, wide: 7 },
    logger: keepingLogger(),
  })
  cleanup(t, () => millrace.stop())
  for (const kind of kinds)
    await millrace.insertMany(
      kind,
      Array.from({ length: 200 }, () => ({})),
    )
  await eventually(async () => (await millrace.summary()).jobsCompleted === 400)
  assert.deepEqual(most, { narrow: 2, wide: 7 })
})
