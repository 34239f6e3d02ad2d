import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import { prune } from '../../../src/upkeep/prune.ts'
import { testDatabase } from '../../support/database.ts'
import { gate, jobsBed, takeBack, type JobsBed } from '../../support/jobs.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

interface Row extends Record<string, unknown> {
  readonly attempt: number | null
  readonly name: string
  readonly details: unknown
}

async function effectsOf(pool: JobsBed['pool'], jobId: string): Promise<Row[]> {
  const { rows } = await pool.query<Row>(
    'select attempt, name, details from millrace.effect where job_id = $1 order by at, written_at, name',
    [jobId],
  )
  return rows
}

const nothing = z.object({})

async function setup(t: TestContext): Promise<JobsBed> {
  const bed = await jobsBed(t)
  await bed.keepUp()
  return bed
}

test('an effect is kept with the attempt that declared it, whether it failed or completed the job', async (t) => {
  const bed = await setup(t)
  const mail = job('mail', {
    args: nothing,
    backoff: () => 1,
    handle(_args, { attempt, effect }) {
      effect('email.sent', { attempt })
      if (attempt === 1) throw new Error('the second letter did not go')
    },
  })
  await bed.work([mail])
  const id = await bed.insert(mail, {})
  await bed.untilState(id, 'completed')
  assert.deepEqual(await effectsOf(bed.pool, id), [
    { attempt: 1, name: 'email.sent', details: { attempt: 1 } },
    { attempt: 2, name: 'email.sent', details: { attempt: 2 } },
  ])
})

test('a discarded job, and one that completes in its own transaction, keep their effects once', async (t) => {
  const bed = await setup(t)
  const hopeless = job('hopeless', {
    args: nothing,
    maxAttempts: 1,
    handle(_args, { effect }) {
      effect('called')
      throw new Error('no')
    },
  })
  let wentOn = false
  const own = job('own', {
    args: nothing,
    async handle(_args, context) {
      context.effect('before')
      await context.transaction(async () => context.effect('within'))
      context.effect('after')
      // Names of any kind are taken, as they are in time.
      context.effect(Object.create(null) as string)
      wentOn = true
    },
  })
  await bed.work([hopeless, own])
  const lost = await bed.insert(hopeless, {})
  const kept = await bed.insert(own, {})
  await bed.untilState(lost, 'discarded')
  await bed.untilState(kept, 'completed')
  await eventually(() => wentOn)
  assert.deepEqual(await effectsOf(bed.pool, lost), [{ attempt: 1, name: 'called', details: null }])
  assert.deepEqual(
    (await effectsOf(bed.pool, kept)).map(({ name }) => name),
    ['before', 'within'],
  )
  assert.ok(bed.log.some(({ message }) => message.includes('it is not kept')))
})

test('what an attempt did whose job had been taken back is kept as well, once', async (t) => {
  const bed = await setup(t)
  const [started, go] = [gate(), gate()]
  const slow = job('slow', {
    args: nothing,
    async handle(_args, { effect }) {
      started.open()
      await go.opened
      effect('done late')
    },
  })
  await bed.work([slow])
  const id = await bed.insert(slow, {})
  await started.opened
  await takeBack(bed.pool, 'suspended')
  go.open()
  await eventually(async () => (await effectsOf(bed.pool, id)).length > 0)
  assert.deepEqual(
    (await bed.get(id)).attempts.map(({ outcome }) => outcome),
    ['late'],
  )
  assert.deepEqual(await effectsOf(bed.pool, id), [
    { attempt: 1, name: 'done late', details: null },
  ])
})

test('a handler in the transaction of the position declares effects that share its fate', async (t) => {
  const { url } = await testDatabase(t)
  const sold = event('item.sold', {
    topic: 'sales',
    source: 'till',
    schema: z.object({ n: z.int() }),
    key: () => null,
  })
  const stock = application('stock').on(
    sold,
    inTransaction(({ data }, { effect }) => {
      effect('booked', { n: data.n })
      if (data.n === 2) throw new Error('never')
    }),
  )
  const millrace = await running(t, { database: url, run: [stock] })
  const ids: string[] = []
  for (const n of [1, 2, 3]) ids.push(await millrace.publish(sold, { n }))
  await settled(millrace)
  await eventually(async () => {
    const { rows } = await millrace.database.query(
      'select event_id, application, details from millrace.effect order by event_id',
    )
    assert.deepEqual(rows, [
      { event_id: ids[0], application: 'stock', details: { n: 1 } },
      { event_id: ids[2], application: 'stock', details: { n: 3 } },
    ])
    return true
  })
})

test('effects of a day without a partition make it, and old days go with the history', async (t) => {
  const bed = await setup(t)
  await bed.pool.query(
    `do $$ declare day regclass;
     begin for day in select inhrelid::regclass from pg_inherits where inhparent = 'millrace.effect'::regclass
     loop execute format('drop table %s', day); end loop; end $$`,
  )
  const mail = job('mail', { args: nothing, handle: (_args, { effect }) => effect('sent') })
  await bed.work([mail])
  const id = await bed.insert(mail, {})
  await bed.untilState(id, 'completed')
  assert.equal((await effectsOf(bed.pool, id)).length, 1)
  await bed.pool.query(
    `create table millrace.effect_20200101 partition of millrace.effect for values from ('2020-01-01') to ('2020-01-02')`,
  )
  const { core, pool, waker } = bed
  await prune.run({ core, pool, waker, hooks: {}, historyDays: 7 }, new AbortController().signal)
  const { rows } = await pool.query<{ old: string | null }>(
    `select to_regclass('millrace.effect_20200101')::text as old`,
  )
  assert.equal(rows[0]?.old, null)
})
