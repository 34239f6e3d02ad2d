import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { connectOperator, type Operator } from '../../../src/app/operator.ts'
import type { StartOptions } from '../../../src/app/options.ts'
import type { Millrace } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import type { HandlerDefinition } from '../../../src/consumer/handler.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import type { ReceivedEvent } from '../../../src/events/received-event.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { changeReplay, getReplay } from '../../../src/replay/order.ts'
import { replayFailures } from '../../../src/replay/queries.ts'
import { orderRecordsReplay, type RecordsReplayOrder } from '../../../src/replay/records-order.ts'
import type { Replay } from '../../../src/replay/replay.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { holdAt } from '../../support/held.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

interface Bed {
  readonly pool: pg.Pool
  readonly millrace: Millrace
  readonly operator: Operator
  readonly scope: { readonly application: string; readonly topic: string }
  readonly replay: (order?: Partial<RecordsReplayOrder>) => Promise<Replay>
  readonly done: (handler: string) => Promise<number[]>
}

/** Three hundred numbers that two handlers have handled, in two partitions. */
async function bed(t: TestContext, log?: StartOptions['log']): Promise<Bed> {
  const { url, pool } = await testDatabase(t)
  const topic = `numbers-${crypto.randomUUID()}`
  const counted = event('COUNTED', {
    source: 'TEST',
    topic,
    schema: z.object({ n: z.int() }),
    key: ({ n }) => `key-${n % 5}`,
  })
  await pool.query('create table done (handler text, n int, generation int, place bigserial)')
  const store = (
    handler: string,
    bad: (n: number) => boolean,
  ): HandlerDefinition<ReceivedEvent<'COUNTED', { n: number }>> =>
    inTransaction(async ({ data: { n } }, { tx, generation }) => {
      if (generation < 0 && bad(n)) throw permanent('not twice')
      await tx.query('insert into done (handler, n, generation) values ($1, $2, $3)', [
        handler,
        n,
        generation,
      ])
    })
  const app = application('app')
    .on(
      counted,
      store('first', (n) => n % 50 === 1),
      { name: 'first' },
    )
    .on(
      counted,
      store('second', () => false),
      { name: 'second' },
    )
  const given = log === undefined ? {} : { log }
  const millrace = await running(t, {
    database: url,
    run: [app],
    topics: { [topic]: { partitions: 2 } },
    ...given,
  })
  const operator = await connectOperator({ database: url, user: 'ana@test', ...given })
  cleanup(t, () => operator.close())
  await millrace.publishMany(
    counted,
    Array.from({ length: 300 }, (_, n) => ({ n })),
  )
  await settled(millrace)
  return {
    pool,
    millrace,
    operator,
    scope: { application: 'app', topic },
    replay: async (order = {}) => {
      const { id } = await orderRecordsReplay(operator, {
        application: 'app',
        handler: 'second',
        topic,
        ...order,
      })
      return eventually(async () => {
        const now = await getReplay(operator.pool, id)
        return now.state === 'running' ? undefined : now
      }) as Promise<Replay>
    },
    done: async (handler) =>
      (
        await pool.query<{ n: number }>(
          'select n from done where handler = $1 and generation < 0 order by place',
          [handler],
        )
      ).rows.map(({ n }) => n),
  }
}

const positions = async ({ pool }: Bed): Promise<unknown[]> =>
  (await pool.query('select partition, next_offset, generation from millrace.position order by 1'))
    .rows

for (const kind of ['table', 'kafka'] as const) {
  const made = async (t: TestContext): Promise<Bed> =>
    bed(t, kind === 'table' ? undefined : kafka(await sharedKafka()))

  describe(`a replay of past records on the ${kind} log`, () => {
    it('hands them to one handler once, in order, and leaves positions and others alone', async (t) => {
      const it = await made(t)
      const before = await positions(it)
      const seen = await it.replay({ reason: 'a column was added' })
      assert.deepEqual([seen.state, seen.passed, seen.failed], ['finished', 300n, 0n])
      const again = await it.done('second')
      assert.deepEqual(
        again.toSorted((a, b) => a - b),
        Array.from({ length: 300 }, (_, n) => n),
      )
      for (const key of [0, 1, 2, 3, 4]) {
        const ofKey = again.filter((n) => n % 5 === key)
        assert.deepEqual(
          ofKey,
          ofKey.toSorted((a, b) => a - b),
        )
      }
      assert.deepEqual(await it.done('first'), [])
      assert.deepEqual(await positions(it), before)
      const { rows } = await it.pool.query('select action, reason from millrace.operator_action')
      assert.deepEqual(rows, [{ action: 'records.replay', reason: 'a column was added' }])
    })

    it('is bounded, and tries without writing', async (t) => {
      const it = await made(t)
      const tried = await it.replay({ handler: 'first', dryRun: true })
      assert.deepEqual([tried.state, tried.passed, tried.failed], ['finished', 294n, 6n])
      const [why] = await replayFailures(it.operator.pool, tried.id)
      assert.equal(why?.count, 6n)
      assert.match(String(why?.example), /^numbers-.*\/\d@\d+$/)
      assert.deepEqual(await it.done('first'), [])
      assert.equal((await listDeadLetters(it.operator.pool)).length, 0)
      const few = await it.replay({ partition: 1, from: { offset: 5n }, to: { offset: 9n } })
      assert.deepEqual([few.total, few.passed], [4n, 4n])
      assert.equal((await it.done('second')).length, 4)
    })
  })
}

it('what fails of past records becomes dead letters, and limits hold', async (t) => {
  const it = await bed(t)
  const seen = await it.replay({ handler: 'first', stopAfter: 2 })
  assert.deepEqual([seen.state, seen.failed], ['stopped', 2n])
  const letters = await listDeadLetters(it.operator.pool)
  assert.deepEqual(
    letters.map(({ generation, handler }) => [generation, handler]),
    [
      [-Number(seen.id), 'first'],
      [-Number(seen.id), 'first'],
    ],
  )
  assert.equal((await it.done('first')).length, Number(seen.passed))
  assert.equal((await it.millrace.summary()).deadLetters, letters.length)
})

it('past records that are purged while their replay is paused are counted as skipped, and it says so', async (t) => {
  const it = await bed(t)
  const held = holdAt(t, 'replay:read')
  const { id } = await orderRecordsReplay(it.operator, { ...it.scope, handler: 'second' })
  await held.reached
  await changeReplay(it.operator, id, 'pause')
  held.release()
  const log = await it.operator.log()
  const topic = await log.topic(it.scope.topic)
  await log.purge(topic?.id as string, 1, 30n)
  await changeReplay(it.operator, id, 'resume')
  const seen = await eventually(async () => {
    const now = await getReplay(it.operator.pool, id)
    return now.state === 'finished' ? now : undefined
  })
  assert.deepEqual([seen?.total, seen?.passed, seen?.skipped], [300n, 270n, 30n])
  assert.equal(
    seen?.note,
    '30 past records of partition 1, from offset 0 on, were purged before their turn came',
  )
  assert.equal((await it.done('second')).length, 270)
})

it('a replay of past records for a handler that nobody has says so', async (t) => {
  const it = await bed(t)
  const seen = await it.replay({ handler: 'third' })
  assert.equal(seen.state, 'stopped')
  assert.match(String(seen.note), /no handler 'third'.*first, second/)
  await assert.rejects(it.replay({ topic: 'nowhere' }), { code: 'E_CONSUMER_NOT_FOUND' })
})
