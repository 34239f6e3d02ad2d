import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application, type ApplicationOptions } from '../../../src/consumer/application.ts'
import type { HandlerDefinition } from '../../../src/consumer/handler.ts'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import type { EventOf } from '../../../src/events/definition.ts'
import { event } from '../../../src/events/event.ts'
import { testDatabase, type TestDatabase } from '../../support/database.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'
import type { Millrace } from '../../../src/app/start.ts'

const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
  key: (data) => `key-${data.n % 3}`,
})
const added = event('ADDED', { source: 'TEST', topic: 'added', schema: z.object({ n: z.int() }) })
type Counted = EventOf<typeof counted>

interface Setup extends TestDatabase {
  readonly millrace: Millrace
}

async function setup(
  t: TestContext,
  handler: HandlerDefinition<Counted>,
  options: ApplicationOptions = {},
): Promise<Setup> {
  const database = await testDatabase(t)
  await database.pool.query('create table done (n int)')
  const app = application('app', options).on(counted, handler)
  const millrace = await running(t, {
    database: database.url,
    run: [app],
    topics: { numbers: { partitions: 1 } },
  })
  return { ...database, millrace }
}

const numbers = (count: number): { n: number }[] => Array.from({ length: count }, (_, n) => ({ n }))

describe('whatever a handler throws', () => {
  const odd: Readonly<Record<string, () => unknown>> = {
    'an error whose message is a list': () =>
      Object.assign(new Error('x'), { message: ['a', 'b'] }),
    'an object without a prototype': () => Object.create(null) as unknown,
    'a revoked proxy': () => {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      return proxy
    },
    'an error whose stack throws': () =>
      Object.defineProperty(new Error('x'), 'stack', {
        get() {
          throw new Error('no')
        },
      }),
    nothing: () => undefined,
  }
  for (const [title, make] of Object.entries(odd)) {
    it(`${title} sets its record aside, and the others go on`, async (t) => {
      const handler = inTransaction<Counted>(async ({ data }, { tx }) => {
        if (data.n === 1) throw make()
        await tx.query('insert into done values ($1)', [data.n])
      })
      const { millrace, pool } = await setup(t, handler, { maxAttempts: 1 })
      await millrace.publishMany(counted, numbers(3))
      await settled(millrace)
      assert.deepEqual(
        (await listDeadLetters(pool)).map(({ offset }) => offset),
        [1n],
      )
      assert.equal((await pool.query('select from done')).rowCount, 2)
    })
  }
})

describe('a handler', () => {
  it('that gives back a lazy query is waited for, as it would be by await', async (t) => {
    const handler = inTransaction<Counted, number>({
      // oxlint-disable-next-line unicorn/no-thenable -- what query builders give back
      prepare: ({ data }) => ({ then: (done: (n: number) => void) => done(data.n * 10) }) as never,
      apply: ({ data }, prepared, { tx }) =>
        ({
          // oxlint-disable-next-line unicorn/no-thenable -- as above
          then: (done: () => void, failed: (error: unknown) => void) =>
            void tx.query('insert into done values ($1)', [prepared + data.n]).then(done, failed),
        }) as never,
    })
    const { millrace, pool } = await setup(t, handler)
    await millrace.publishMany(counted, numbers(3))
    await settled(millrace)
    assert.deepEqual((await pool.query('select n from done order by n')).rows, [
      { n: 0 },
      { n: 11 },
      { n: 22 },
    ])
  })

  it('that works on a whole batch with one statement is given all of it', async (t) => {
    const sizes: number[] = []
    const handler = inTransaction<Counted, unknown>({
      applyBatch: async (records, { tx }) => {
        sizes.push(records.length)
        await tx.query('insert into done select unnest($1::int[])', [
          records.map(({ event: { data } }) => data.n),
        ])
        await tx.publish(added, { n: records.length })
      },
    })
    const { millrace, pool } = await setup(t, handler)
    await millrace.log.createTopic('added', { partitions: 1 })
    await millrace.publishMany(counted, numbers(200))
    await settled(millrace)
    assert.equal((await pool.query('select from done')).rowCount, 200)
    assert.ok(sizes.length < 10, `${sizes.length} calls`)
  })

  it('of batches that never returns is given up on, and its records are set aside one by one', async (t) => {
    const handler = inTransaction<Counted, unknown>({
      applyBatch: (records) =>
        records.some(({ event: { data } }) => data.n === 1)
          ? new Promise(() => {})
          : Promise.resolve(),
    })
    const { millrace, pool } = await setup(t, handler, {
      maxAttempts: 1,
      transactionTimeoutMs: 100,
    })
    await millrace.publishMany(counted, numbers(3))
    await settled(millrace)
    assert.deepEqual(
      (await listDeadLetters(pool)).map(({ offset, error }) => [offset, error.class]),
      [[1n, 'TimeoutReason']],
    )
  })

  it('whose preparation hangs does not keep a stop that waits for nothing', async (t) => {
    const entered = Promise.withResolvers<void>()
    const handler = inTransaction<Counted, never>({
      prepare: () => {
        entered.resolve()
        return new Promise<never>(() => {})
      },
      apply: () => {},
    })
    const { millrace, pool } = await setup(t, handler, { prepareTimeoutMs: 3_600_000 })
    await millrace.publishMany(counted, numbers(1))
    await entered.promise
    await millrace.stop({ now: true })
    assert.equal(
      (await pool.query('select from millrace.position where next_offset = 0')).rowCount,
      1,
    )
  })

  it('is tried less and less often while what it looks up is away, and the partition says so', async (t) => {
    let calls = 0
    const handler = inTransaction<Counted, never>({
      prepare: () => {
        calls += 1
        throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
      },
      apply: () => {},
    })
    const { millrace, pool } = await setup(t, handler)
    await millrace.publishMany(counted, numbers(1))
    await eventually(async () => {
      const [consumer] = await listConsumers(pool, millrace.log)
      return /prepare of COUNTED failed, attempt [3-9]/.test(consumer?.reason ?? '')
    })
    assert.ok(calls <= 9, `${calls} calls`)
    await millrace.stop({ now: true })
  })

  it('that rejects a record twice over costs no transaction per record that follows', async (t) => {
    const { url, pool } = await testDatabase(t)
    const refuse = inTransaction<Counted>(({ data }) => {
      if (data.n === 100) throw permanent('no')
    })
    const app = application('app').on(counted, refuse).on(counted, refuse, { name: 'again' })
    const millrace = await running(t, {
      database: url,
      run: [app],
      topics: { numbers: { partitions: 1 } },
    })
    await millrace.publishMany(counted, numbers(400))
    await settled(millrace)
    assert.equal((await listDeadLetters(pool)).length, 2)
    const { rowCount } = await pool.query('select from millrace.batch')
    assert.ok((rowCount ?? 0) < 20, `${rowCount} transactions`)
  })
})

describe('a deploy that adds a topic', () => {
  it('leaves no partition unread while the old version still runs', async (t) => {
    const { url, pool } = await testDatabase(t)
    const nothing = inTransaction<never>(() => {})
    const before = application('app').on(counted, nothing)
    const after = before.on(added, nothing)
    const old = await running(t, { database: url, run: [before], name: 'old' })
    const fresh = await running(t, { database: url, run: [after], name: 'new' })
    await eventually(async () => {
      const owners = await listConsumers(pool, old.log)
      const of = (topic: string, name: string): number =>
        owners.filter((one) => one.topic === topic && one.owner === name).length
      return of('added', 'new') === 6 && of('numbers', 'old') === 3 && of('numbers', 'new') === 3
    })
    await fresh.stop()
  })
})
