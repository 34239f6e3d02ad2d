import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import type { ReceivedEvent } from '../../../src/events/received-event.ts'
import { job } from '../../../src/jobs/job.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'

const ordered = event('ORDERED', {
  source: 'web@1.41',
  topic: 'orders',
  schema: z.object({ n: z.int() }),
})

type Ordered = ReceivedEvent<'ORDERED', { n: number }>

describe('a dead letter', () => {
  it('has one fingerprint with all that failed as it did, whose record and producer it keeps', async (t) => {
    const { url, pool } = await testDatabase(t)
    const ship = job('ship', {
      args: z.object({ n: z.int() }),
      maxAttempts: 1,
      handle({ n }) {
        throw new Error(`no carrier for order ${n}`)
      },
    })
    const bill = inTransaction(({ data: { n } }: Ordered) => {
      throw permanent(n % 2 === 0 ? `order ${n} is even` : `order ${n} is odd`)
    })
    const app = application('app')
      .on(ordered, bill, { name: 'bill' })
      .on(
        ordered,
        toJob(ship, ({ data }) => data),
      )
    const millrace = await running(t, { database: url, run: [app], codeVersion: '1.4.2' })
    await millrace.publishMany(
      ordered,
      [1, 2, 3, 4].map((n) => ({ n })),
    )
    await settled(millrace)
    const letters = await listDeadLetters(pool)
    const groups = Map.groupBy(letters, ({ fingerprint }) => fingerprint)
    assert.deepEqual(
      [...groups.values()].map((group) => `${group.length} ${group[0]?.stage}`).sort(),
      ['2 apply', '2 apply', '4 job'],
    )
    for (const letter of letters) {
      assert.match(letter.fingerprint ?? '', /^[0-9a-f]{16}$/)
      assert.deepEqual([letter.cluster, letter.producer], ['table', 'web@1.41'])
    }
    const [fingerprint] = [...groups.keys()]
    assert.equal((await listDeadLetters(pool, { fingerprint: fingerprint as string })).length, 4)
    assert.equal(
      (await listDeadLetters(pool, { fingerprint: fingerprint as string, state: 'replayed' }))
        .length,
      0,
    )
  })
})
