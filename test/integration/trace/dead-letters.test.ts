import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { foreign } from '../../../src/events/foreign.ts'
import type { Queryable, Row } from '../../../src/postgres/queryable.ts'
import { getReplay, orderReplay } from '../../../src/replay/order.ts'
import { trace, type Timeline } from '../../../src/trace/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { SPRING_HEADERS } from '../../support/foreign-dead-letters.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const ordered = event('ORDERED', { source: 'S', topic: 'orders', schema: z.object({ n: z.int() }) })
const billing = application('billing', { deadLetterTopics: ['orders-dlt'] }).on(
  ordered,
  inTransaction(() => {}),
)
const topics = { orders: { partitions: 1 }, 'orders-dlt': { partitions: 1 } }

test('what another program set aside is found by its number and by its place, as set aside', async (t) => {
  const { url, pool } = await testDatabase(t)
  const millrace = await running(t, { database: url, run: [billing], topics })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const record = { topic: 'orders-dlt', key: null, value: Buffer.from('{}') }
  // One says where it came from, the other does not.
  await millrace.log.append([
    { ...record, headers: [...SPRING_HEADERS] },
    { ...record, headers: [] },
  ])
  await settled(millrace)
  const shape = (timeline: Timeline): unknown => [
    timeline.headline,
    timeline.nodes.map(({ id, label, state, outcome }) => [id, label, state, outcome]),
  ]
  for (const offset of [0, 1]) {
    const letter = `dead letter ${offset + 1}`
    const place = `orders-dlt/0/${offset}`
    const expected = [
      "0 of 1 branch done; 'billing' set it aside",
      [
        [place, '(record of orders-dlt)', 'in the log', 'none'],
        [`${place} billing`, 'billing', 'set aside', 'failed'],
        [letter, letter, 'open', 'failed'],
      ],
    ]
    const asked: string[] = []
    for (const one of [place, String(offset + 1)]) {
      const timeline = await trace(operator, one)
      assert.deepEqual(shape(timeline), expected)
      asked.push(...timeline.nodes.filter((node) => node.asked).map(({ id }) => id))
    }
    assert.deepEqual(asked, [place, letter])
  }
  await pool.query(
    `insert into millrace.dead_letter (handler, stage, error, attempts) values ('x', 'job', '{}', 1)`,
  )
  await assert.rejects(trace(operator, '3'), {
    code: 'E_TRACE_NOT_FOUND',
    message: /dead letter 3 names no job and no record/,
  })
})

test('dead letters of records are found by indexes that stand alone', async (t) => {
  const { url, pool } = await testDatabase(t)
  const millrace = await running(t, { database: url, run: [billing], topics })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  const id = await millrace.publish(ordered, { n: 1 })
  await settled(millrace)
  const { rows: others } = await pool.query<{ id: string }>(
    `select id from millrace.topic where name = 'orders'`,
  )
  // Of one application, as after a mass failure; of some another program says where they were.
  await pool.query(
    `insert into millrace.dead_letter (application, handler, stage, topic, topic_id, partition, "offset", generation, error, attempts, trace)
     select 'billing', 'h' || n % 5, 'apply', 'orders', case when n % 2 = 0 then $1::uuid end, 0, n, 0, '{}', 1,
       json_build_object('takenFrom', json_build_object('topic', 'orders-dlt', 'topicId', $1::text, 'partition', 0, 'offset', n::text))
     from generate_series(1000, 61000) n`,
    [others[0]?.id],
  )
  await pool.query('vacuum analyze millrace.dead_letter')
  const plans = new Map<string, string>()
  const explaining: Queryable = {
    async query<R extends Row>(text: string, values?: readonly unknown[]) {
      const name = /millrace:(\S+)/.exec(text)?.[1] ?? text
      const { rows } = await pool.query<{ 'QUERY PLAN': string }>(`explain ${text}`, [
        ...(values ?? []),
      ])
      plans.set(name, rows.map((row) => row['QUERY PLAN']).join('\n'))
      return (pool as Queryable).query<R>(text, values)
    },
  }
  await trace({ core: operator.core, pool: explaining, log: () => operator.log() }, id)
  const plan = plans.get('trace-letters') ?? ''
  for (const index of ['dead_letter_place', 'dead_letter_taken_from']) {
    assert.match(plan, new RegExp(`Index Scan using ${index} on dead_letter`), plan)
  }
  // Every column of the index is given, so that it needs no skip scan, which older servers do not have.
  assert.match(plan, /Index Cond: \(\(topic_id = .* AND \(partition = .* AND \("offset" = /)
  await trace({ core: operator.core, pool: explaining, log: () => operator.log() }, '1')
  assert.match(plans.get('trace-dead-letters') ?? '', /Index Scan using dead_letter_pkey/)
})

test('what followed from a record that its application calls by an id of its own is found by its place, and by its dead letter', async (t) => {
  const { url } = await testDatabase(t)
  let isFixed = false
  const purchase = foreign('tills', {
    schema: z.object({ receipt: z.string() }),
    id: ({ receipt }) => receipt,
  })
  const orders = application('orders').on(
    purchase,
    inTransaction(async ({ data }, { tx }) => {
      if (data.receipt === 'r-2' && !isFixed) throw permanent('no receipt like that')
      await tx.publish(ordered, { n: Number(data.receipt.slice(2)) })
    }),
  )
  const millrace = await running(t, {
    database: url,
    run: [orders],
    topics: { tills: { partitions: 1 }, orders: { partitions: 1 } },
  })
  const operator = await connectOperator({ database: url })
  cleanup(t, () => operator.close())
  await millrace.log.append(
    ['r-1', 'r-2'].map((receipt) => {
      const value = Buffer.from(JSON.stringify({ receipt }))
      return { topic: 'tills', key: null, value, headers: [] }
    }),
  )
  await settled(millrace)
  const found = async (asked: string): Promise<unknown> => {
    const { correlationId, nodes } = await trace(operator, asked)
    return [correlationId, nodes.map(({ label, state }) => `${label}: ${state}`)]
  }
  assert.deepEqual(await found('tills/0/0'), [
    'r-1',
    ['(record of tills): in the log', 'orders: handled', 'ORDERED: in the log'],
  ])

  isFixed = true
  const { id } = await orderReplay(operator, { selection: { application: 'orders' } })
  await eventually(async () => (await getReplay(operator.pool, id)).state === 'finished')
  for (const asked of ['tills/0/1', '1']) {
    assert.deepEqual(await found(asked), [
      'r-2',
      [
        '(record of tills): in the log',
        'orders: replayed',
        'dead letter 1: replayed',
        'ORDERED: in the log',
      ],
    ])
  }
})
