import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { checkListening } from '../../../src/app/doctor-database.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { createCore } from '../../../src/core/core.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import { testDatabase } from '../../support/database.ts'
import { keepingLogger, running } from '../../support/millrace.ts'
import { silentProxy } from '../../support/silent-proxy.ts'
import { eventually } from '../../support/wait.ts'

const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
})

test('everything goes on by polling behind a pooler that swallows notifications, which is said, and so is its end', async (t) => {
  const { url } = await testDatabase(t)
  const proxy = await silentProxy(t, url)
  const heard: string[] = []
  const work = job('work', {
    args: z.object({ n: z.int() }),
    handle: ({ n }) => void heard.push(`job ${n}`),
  })
  const app = application('app').on(
    counted,
    inTransaction(({ data }) => void heard.push(`record ${data.n}`)),
  )
  const logger = keepingLogger()
  const lines = (message: RegExp): number =>
    logger.lines.filter((line) => message.test(line.message)).length
  const behind = await running(t, { database: proxy.url, run: [app], jobs: [work], logger })
  const writer = await running(t, { database: url, queues: false, upkeep: false })

  await eventually(() => lines(/^no wake-ups arrive: polling only/) === 1)
  assert.equal(behind.listening, false)
  await writer.insert(work, { n: 1 })
  await writer.publish(counted, { n: 1 })
  await eventually(() => heard.length === 2)
  assert.deepEqual(heard.toSorted(), ['job 1', 'record 1'])
  // It tries again and again, and says no more about it.
  const pings = proxy.swallowed
  await eventually(() => proxy.swallowed > pings + 1)
  assert.equal(behind.listening, false)
  const [check] = await checkListening(createCore(), behind.database as never, 300)
  assert.deepEqual([check?.id, check?.state], ['database.listen', 'warning'])

  proxy.swallow(false)
  await eventually(() => behind.listening)
  assert.equal(lines(/^no wake-ups arrive/), 1)
  assert.equal(lines(/^wake-ups arrive again/), 1)
  await writer.insert(work, { n: 2 })
  await eventually(() => heard.includes('job 2'))
})
