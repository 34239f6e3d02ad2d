import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { event } from '../../../src/events/event.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'

const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
})

test('a record is set aside when what its prepare gives throws as soon as it is looked at', async (t) => {
  const { url, pool } = await testDatabase(t)
  const odd = [
    () => {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      return proxy
    },
    () => new Proxy({}, { get: () => assert.fail('nothing to get') }),
    () => Object.defineProperty({}, 'outcome', { get: () => assert.fail('no outcome') }),
    () => undefined,
  ]
  const app = application('app', { maxAttempts: 1, floodBrake: false }).on(
    counted,
    inTransaction({ prepare: ({ data }) => odd[data.n]?.(), apply: () => undefined }),
  )
  const topics = { numbers: { partitions: 1 } }
  const millrace = await running(t, { database: url, run: [app], topics })
  await millrace.publishMany(
    counted,
    odd.map((_, n) => ({ n })),
  )
  await settled(millrace)
  const letters = await listDeadLetters(pool as never)
  assert.deepEqual(letters.map(({ offset, stage }) => `${offset} ${stage}`).toSorted(), [
    '0 prepare',
    '1 prepare',
    '2 prepare',
  ])
})
