import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import type { Millrace } from '../../../src/app/start.ts'
import { inTransaction, type Apply } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application, type ApplicationOptions } from '../../../src/consumer/application.ts'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { getDeadLetter, listDeadLetters } from '../../../src/dead-letter/queries.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import type { ReceivedEvent } from '../../../src/events/received-event.ts'
import { connectOperator } from '../../../src/app/operator.ts'
import { job } from '../../../src/jobs/job.ts'
import { retryJobs } from '../../../src/jobs/retry.ts'
import { testDatabase } from '../../support/database.ts'
import { keepingLogger, running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
  key: (data) => `key-${data.n % 3}`,
})
type Counted = ReceivedEvent<'COUNTED', { n: number }>

interface Setup {
  readonly pool: pg.Pool
  readonly millrace: Millrace
  readonly done: () => Promise<number[]>
}

async function setup(
  t: TestContext,
  apply: Apply<Counted, undefined>,
  options: ApplicationOptions = {},
  ddl = '',
): Promise<Setup> {
  const { url, pool } = await testDatabase(t)
  await pool.query(`create table done (n int, place bigserial); ${ddl}`)
  const app = application('app', options).on(
    counted,
    inTransaction({ prepare: () => undefined, apply }),
  )
  const millrace = await running(t, {
    database: url,
    run: [app],
    topics: { numbers: { partitions: 1 } },
  })
  return {
    pool,
    millrace,
    done: async () =>
      (await pool.query<{ n: number }>('select n from done order by place')).rows.map(({ n }) => n),
  }
}

const store: Apply<Counted, undefined> = async ({ data }, _, { tx }) => {
  await tx.query('insert into done (n) values ($1)', [data.n])
}
const numbers = (count: number): { n: number }[] => Array.from({ length: count }, (_, n) => ({ n }))

describe('a failing record', () => {
  it('is set aside when it fails for good, and the rest of its batch goes on in order', async (t) => {
    const { millrace, pool, done } = await setup(t, async (e, p, context) => {
      if (e.data.n % 100 === 50) throw permanent(`${e.data.n} is not to be counted`)
      await store(e, p, context)
    })
    await millrace.publishMany(counted, numbers(500))
    await settled(millrace)
    assert.deepEqual(
      await done(),
      numbers(500)
        .map(({ n }) => n)
        .filter((n) => n % 100 !== 50),
    )
    const letters = await listDeadLetters(pool as never)
    assert.deepEqual(
      letters.map(({ error }) => error.message).toReversed(),
      [50, 150, 250, 350, 450].map((n) => `${n} is not to be counted`),
    )
    const first = await getDeadLetter(pool as never, letters.at(-1)?.id as bigint)
    assert.equal(Buffer.from(first.value as Uint8Array).toString(), '{"n":50}')
    assert.equal(Buffer.from(first.key as Uint8Array).toString(), 'key-2')
    assert.equal(first.offset, 50n)
    assert.ok(
      first.headers.some(
        ([name, value]) =>
          name === 'ce_type' && Buffer.from(value as Uint8Array).toString() === 'COUNTED',
      ),
    )
  })

  it('is tried again while it may succeed, and nothing of its partition overtakes it', async (t) => {
    const attempts: number[] = []
    const { millrace, done, pool } = await setup(t, async (e, p, context) => {
      if (e.data.n === 5) {
        attempts.push(context.attempt)
        if (attempts.length < 3) throw new Error('not yet')
      }
      await store(e, p, context)
    })
    await millrace.publishMany(counted, numbers(10))
    await settled(millrace)
    assert.deepEqual(
      await done(),
      numbers(10).map(({ n }) => n),
    )
    assert.deepEqual(attempts, [1, 2, 3])
    assert.equal((await listDeadLetters(pool as never)).length, 0)
  })

  it('is set aside when its attempts are spent', async (t) => {
    const { millrace, pool, done } = await setup(
      t,
      async (e, p, context) => {
        if (e.data.n === 1) throw new Error('never')
        await store(e, p, context)
      },
      { maxAttempts: 2 },
    )
    await millrace.publishMany(counted, numbers(3))
    await settled(millrace)
    assert.deepEqual(await done(), [0, 2])
    const [letter] = await listDeadLetters(pool as never)
    assert.deepEqual(
      [letter?.stage, letter?.attempts, letter?.error.message],
      ['apply', 2, 'never'],
    )
  })

  it('is found among others when only a deferred constraint knows of it', async (t) => {
    const { millrace, pool, done } = await setup(
      t,
      store,
      { maxAttempts: 1 },
      `create table allowed (n int primary key);
       insert into allowed select g from generate_series(0, 499) g where g <> 321;
       alter table done add foreign key (n) references allowed deferrable initially deferred`,
    )
    await millrace.publishMany(counted, numbers(500))
    await settled(millrace)
    assert.deepEqual(
      await done(),
      numbers(500)
        .map(({ n }) => n)
        .filter((n) => n !== 321),
    )
    const letters = await listDeadLetters(pool as never)
    assert.deepEqual(
      letters.map(({ offset, error }) => [offset, error.code]),
      [[321n, '23503']],
    )
  })

  it('is found when its handler swallows the database error that fails the transaction', async (t) => {
    const { millrace, pool, done } = await setup(
      t,
      async (e, p, context) => {
        if (e.data.n === 7) await context.tx.query('select 1 / 0').catch(() => {})
        else await store(e, p, context)
      },
      { maxAttempts: 1 },
    )
    await millrace.publishMany(counted, numbers(20))
    await settled(millrace)
    assert.deepEqual(
      await done(),
      numbers(20)
        .map(({ n }) => n)
        .filter((n) => n !== 7),
    )
    assert.deepEqual(
      (await listDeadLetters(pool as never)).map(({ offset }) => offset),
      [7n],
    )
  })

  it('does not keep a batch from ending when all of it is slow: the batch is halved until it fits', async (t) => {
    const { millrace, done, pool } = await setup(
      t,
      async (e, p, context) => {
        await context.tx.query('select pg_sleep(0.02)')
        await store(e, p, context)
      },
      { transactionTimeoutMs: 300 },
    )
    await millrace.publishMany(counted, numbers(40))
    await settled(millrace)
    assert.deepEqual(
      await done(),
      numbers(40).map(({ n }) => n),
    )
    assert.equal((await listDeadLetters(pool as never)).length, 0)
  })

  it('has batches that slow handlers are through with in time, once they are known to be slow', async (t) => {
    const calls: number[] = []
    const { millrace, done } = await setup(
      t,
      async (e, p, context) => {
        calls.push(e.data.n)
        await context.tx.query('select pg_sleep(0.015)')
        await store(e, p, context)
      },
      { transactionTimeoutMs: 300, batchRecords: 40 },
    )
    await millrace.publishMany(counted, numbers(240))
    await settled(millrace)
    assert.deepEqual(
      await done(),
      numbers(240).map(({ n }) => n),
    )
    // Of each batch of 40, twenty or more are called in vain; the first two are read before anything is known.
    const again = calls.length - new Set(calls).size
    assert.ok(again < 120, `${again} calls were in vain`)
  })

  it('is given up on when its handler never returns, and cannot write any more', async (t) => {
    const late = Promise.withResolvers<unknown>()
    const afterwards = Promise.withResolvers<void>()
    const { millrace, done, pool } = await setup(
      t,
      async (e, p, context) => {
        if (e.data.n === 1) {
          await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
          await afterwards.promise
          late.resolve(
            await context.tx
              .query('insert into done (n) values (-1)')
              .catch((error: unknown) => error),
          )
          return
        }
        await store(e, p, context)
      },
      { maxAttempts: 1, transactionTimeoutMs: 200 },
    )
    await millrace.publishMany(counted, numbers(3))
    await settled(millrace)
    afterwards.resolve()
    assert.match(String(await late.promise), /the transaction is over/)
    assert.deepEqual(await done(), [0, 2])
    assert.equal((await listDeadLetters(pool as never))[0]?.error.class, 'TimeoutReason')
  })

  it('fails in prepare as it does in apply', async (t) => {
    const { url, pool } = await testDatabase(t)
    let tries = 0
    const app = application('app', { maxAttempts: 3, prepareTimeoutMs: 100 }).on(
      counted,
      inTransaction({
        prepare: async ({ data }) => {
          if (data.n === 1) throw permanent('hopeless')
          if (data.n === 2 && ++tries < 3) throw new Error('not yet')
          if (data.n === 3) await new Promise(() => {})
          return data.n
        },
        apply: () => {},
      }),
    )
    const millrace = await running(t, {
      database: url,
      run: [app],
      topics: { numbers: { partitions: 1 } },
    })
    await millrace.publishMany(counted, numbers(6))
    await settled(millrace)
    const letters = await listDeadLetters(pool as never)
    assert.deepEqual(
      letters
        .map(({ stage, offset, error, attempts }) => [stage, offset, error.message, attempts])
        .toSorted(),
      [
        ['prepare', 1n, 'hopeless', 1],
        ['prepare', 3n, 'took longer than the 100 ms it may take', 3],
      ],
    )
    assert.equal((await millrace.summary()).handled, 4)
  })

  it('makes no job of args that do not fit, but a dead letter', async (t) => {
    const { url, pool } = await testDatabase(t)
    const small = job('small', { args: z.object({ n: z.int().max(3) }), handle: () => {} })
    const app = application('app').on(
      counted,
      toJob(small, ({ data }) => data),
    )
    const millrace = await running(t, {
      database: url,
      run: [app],
      topics: { numbers: { partitions: 1 } },
    })
    await millrace.publishMany(counted, numbers(6))
    await settled(millrace)
    assert.deepEqual(
      (await listDeadLetters(pool as never)).map(({ stage, offset }) => [stage, offset]),
      [
        ['prepare', 5n],
        ['prepare', 4n],
      ],
    )
    assert.equal((await millrace.summary()).jobsCompleted, 4)
  })
})

describe('a discarded job', () => {
  it("becomes a dead letter with its record's origin and bytes", async (t) => {
    const { url, pool } = await testDatabase(t)
    const fail = job('fail', {
      args: z.object({ n: z.int() }),
      handle: ({ n }) => {
        if (n === 2) throw permanent('cannot do two')
      },
    })
    const app = application('app').on(
      counted,
      toJob(fail, ({ data }) => data),
    )
    const millrace = await running(t, {
      database: url,
      run: [app],
      topics: { numbers: { partitions: 1 } },
    })
    const ids = await millrace.publishMany(counted, numbers(4))
    await settled(millrace)
    const [summary, ...rest] = await listDeadLetters(pool as never)
    assert.equal(rest.length, 0)
    const letter = await getDeadLetter(pool as never, summary?.id as bigint)
    assert.deepEqual(
      [
        letter.application,
        letter.handler,
        letter.stage,
        letter.offset,
        letter.kind,
        letter.argsJson,
        letter.eventId,
        letter.eventType,
        letter.eventVersion,
        letter.error.message,
      ],
      ['app', 'fail', 'job', 2n, 'fail', '{"n":2}', ids[2], 'COUNTED', 1, 'cannot do two'],
    )
    assert.equal(Buffer.from(letter.value as Uint8Array).toString(), '{"n":2}')
    assert.equal((await millrace.summary()).deadLetters, 1)
  })
})

describe('back-pressure', () => {
  it('stops reading at the upper limit, says so, and reads on at the lower', async (t) => {
    const { url, pool } = await testDatabase(t)
    const gate = Promise.withResolvers<void>()
    const slow = job('slow', { args: z.object({ n: z.int() }), handle: () => gate.promise })
    const app = application('app', {
      batchRecords: 50,
      backlog: { pauseAt: 100, resumeAt: 20 },
    }).on(
      counted,
      toJob(slow, ({ data }) => data),
    )
    const millrace = await running(t, {
      database: url,
      run: [app],
      queues: { default: 200 },
      topics: { numbers: { partitions: 1 } },
    })
    await millrace.publishMany(counted, numbers(1_000))
    await eventually(async () => {
      const [consumer] = await listConsumers(pool as never, millrace.log)
      return (
        consumer?.state === 'waiting' &&
        /^backlog of \d+ jobs: reading goes on at 20/.test(consumer.reason ?? '')
      )
    })
    const { backlog } = await millrace.summary()
    assert.ok(backlog >= 100 && backlog <= 200, `backlog ${backlog}`)
    gate.resolve()
    await settled(millrace)
    assert.equal((await millrace.summary()).jobsCompleted, 1_000)
    const [consumer] = await listConsumers(pool as never, millrace.log)
    assert.deepEqual([consumer?.state, consumer?.reason], ['reading', null])
  })
})

describe('a log that is not what it was', () => {
  const halted = async (pool: pg.Pool, millrace: Millrace): Promise<string> => {
    let reason = ''
    await eventually(async () => {
      const list = await listConsumers(pool as never, millrace.log)
      reason = list.find(({ state }) => state === 'halted')?.reason ?? ''
      return reason !== ''
    })
    return reason
  }

  it('stops the partition when the topic is made anew, and begins nothing by itself', async (t) => {
    const { millrace, pool, done } = await setup(t, store)
    await millrace.publishMany(counted, numbers(5))
    await settled(millrace)
    await millrace.log.deleteTopic('numbers')
    await millrace.log.createTopic('numbers', { partitions: 1 })
    await millrace.publishMany(counted, numbers(5))
    assert.match(
      await halted(pool, millrace),
      /topic numbers was deleted and made anew, or this is another log|is not in the log any more/,
    )
    assert.equal((await done()).length, 5)
  })

  it('stops the partition when what it has not read was purged', async (t) => {
    const { url, pool } = await testDatabase(t)
    const app = application('app').on(
      counted,
      toJob(job('j', { args: z.object({ n: z.int() }), handle: () => {} }), ({ data }) => data),
    )
    const first = await running(t, {
      database: url,
      run: [app],
      topics: { numbers: { partitions: 1 } },
    })
    await first.publishMany(counted, numbers(5))
    await settled(first)
    await first.stop()
    const writer = await running(t, { database: url })
    await writer.publishMany(counted, numbers(5))
    const topic = await writer.log.topic('numbers')
    await writer.log.purge(topic?.id as string, 0, 8n)
    const second = await running(t, { database: url, run: [app] })
    assert.match(
      await halted(pool, second),
      /position 5 lies outside of the log, which has 8 to 10/,
    )
  })

  it('stops the partition when the record last seen has another content', async (t) => {
    const { url, pool } = await testDatabase(t)
    const logger = keepingLogger()
    const app = application('app').on(
      counted,
      toJob(job('j', { args: z.object({ n: z.int() }), handle: () => {} }), ({ data }) => data),
    )
    const first = await running(t, {
      database: url,
      run: [app],
      topics: { numbers: { partitions: 1 } },
    })
    await first.publishMany(counted, numbers(5))
    await settled(first)
    await first.stop()
    await pool.query(`update millrace.record set value = 'another' where "offset" = 4`)
    const second = await running(t, { database: url, run: [app], logger })
    assert.match(
      await halted(pool, second),
      /the record at offset 4 is not the one that was handled there/,
    )
    assert.ok(
      logger.lines.some(
        ({ level, message }) => level === 'error' && /stopped until somebody decides/.test(message),
      ),
    )
  })
})

describe('a discarded job that is retried', () => {
  it('has one dead letter, which is closed meanwhile and tells of the last time', async (t) => {
    const { url, pool } = await testDatabase(t)
    let tries = 0
    const hopeless = job('hopeless', {
      args: z.object({}),
      handle: () => {
        tries += 1
        if (tries < 3) throw permanent(`time ${tries}`)
      },
    })
    const millrace = await running(t, { database: url, jobs: [hopeless] })
    const id = await millrace.insert(hopeless, {})
    await using operator = await connectOperator({ database: url })
    for (const message of ['time 1', 'time 2']) {
      await eventually(async () => {
        const [letter] = await listDeadLetters(pool)
        return letter?.state === 'open' && letter.error.message === message
      })
      await retryJobs(operator, [id])
    }
    await eventually(async () => (await millrace.summary()).jobsCompleted === 1)
    const letters = await listDeadLetters(pool)
    assert.deepEqual(
      letters.map(({ state, error }) => [state, error.message]),
      [['replayed', 'time 2']],
    )
    assert.equal((await millrace.summary()).deadLetters, 1)
  })
})
