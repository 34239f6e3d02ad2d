import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { start } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application, type StartPosition } from '../../../src/consumer/application.ts'
import { event } from '../../../src/events/event.ts'
import { BOTH_LOGS } from '../../support/both-logs.ts'
import { testDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

describe('an application that has never read a topic', () => {
  const middle = new Date('2026-11-01T00:00:05.000Z')
  const cases: readonly (readonly [string, StartPosition, readonly number[]])[] = [
    ['begins at the beginning', 'beginning', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100]],
    ['begins at the end', 'end', [100]],
    ['begins at a time', { time: middle }, [5, 6, 7, 8, 9, 100]],
    ['begins at an offset', { offset: 7n }, [7, 8, 9, 100]],
    ['begins at the end of the log when the offset is behind it', { offset: 1_000n }, [100]],
  ]
  for (const log of BOTH_LOGS) {
    for (const [title, position, expected] of cases) {
      it(`${title}, on ${log.name}`, async (t) => {
        const { url, pool } = await testDatabase(t)
        const { topic, options } = await log.use(t, 'numbers')
        const counted = event('COUNTED', {
          source: 'TEST',
          topic,
          schema: z.object({ n: z.int() }),
        })
        await pool.query('create table done (n int)')
        const writer = await running(t, {
          database: url,
          topics: { [topic]: { partitions: 1 } },
          ...options,
        })
        for (let n = 0; n < 10; n++) {
          await writer.publish(counted, { n }, { time: new Date(Date.UTC(2026, 10, 1, 0, 0, n)) })
        }
        const app = application('app', { start: position }).on(
          counted,
          inTransaction(
            async ({ data }, { tx }) =>
              void (await tx.query('insert into done values ($1)', [data.n])),
          ),
        )
        const reader = await running(t, { database: url, run: [app], ...options })
        await eventually(
          async () =>
            (await pool.query('select from millrace.position where owner is not null')).rowCount ===
            1,
        )
        await writer.publish(counted, { n: 100 })
        await settled(reader)
        assert.deepEqual(
          (await pool.query<{ n: number }>('select n from done order by n')).rows.map(({ n }) => n),
          expected,
        )
      })
    }
  }
})

describe('start', () => {
  it('names everything that is wrong with its options at once', async () => {
    await assert.rejects(
      start({
        database: 'mysql://x',
        partitions: 0,
        queues: { a: 0 },
        run: [application('a'), application('a')],
      }),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'E_CONFIG_INVALID')
        for (const part of [
          'database: expected',
          'partitions: expected',
          'queues.a: expected',
          'run: expected',
        ])
          assert.ok(error.message.includes(part), part)
        return true
      },
    )
  })

  it("says what to do when nothing listens at the database's address", async () => {
    await assert.rejects(
      start({ database: 'postgres://nobody:secret@127.0.0.1:1/nothing' }),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'E_DB_CONNECT')
        assert.match(error.message, /Nothing listens there/)
        assert.doesNotMatch(error.message, /secret/)
        return true
      },
    )
  })

  it('stops twice without harm, and by disposal', async (t) => {
    const { url, pool } = await testDatabase(t)
    {
      await using millrace = await start({ database: url })
      await millrace.stop()
      await millrace.stop({ now: true })
    }
    assert.equal((await pool.query('select from millrace.process')).rowCount, 0)
  })

  it('works with a pool that the caller already has, and leaves it open', async (t) => {
    const { pool } = await testDatabase(t)
    const millrace = await start({ database: pool })
    await millrace.stop()
    assert.equal((await pool.query('select 1 as one')).rowCount, 1)
  })
})
