import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import {
  getDeadLetter,
  listDeadLetterGroups,
  listDeadLetters,
  type DeadLetter,
} from '../../../src/dead-letter/queries.ts'
import { event } from '../../../src/events/event.ts'
import type { Header } from '../../../src/events/raw-record.ts'
import type { Queryable } from '../../../src/postgres/queryable.ts'
import { testDatabase } from '../../support/database.ts'
import {
  CONNECT_HEADERS,
  int64,
  KARAFKA_HEADERS,
  SMALLRYE_HEADERS,
  SMALLRYE_NAMES,
  SPRING_HEADERS,
} from '../../support/foreign-dead-letters.ts'
import { running, settled } from '../../support/millrace.ts'

const ordered = event('ORDERED', { source: 'S', topic: 'orders', schema: z.object({ n: z.int() }) })
const billing = application('billing', { deadLetterTopics: ['orders.DLT'] }).on(
  ordered,
  inTransaction(() => {}),
)
const topics = { orders: { partitions: 1 }, 'orders.DLT': { partitions: 1 } }
const TAKEN = { topic: 'orders.DLT', partition: 0 }

async function allLetters(db: Queryable): Promise<DeadLetter[]> {
  const ids = (await listDeadLetters(db, { limit: 1_000 })).map(({ id }) => id).reverse()
  return Promise.all(ids.map((id) => getDeadLetter(db, id)))
}

describe('a dead-letter topic of another program', () => {
  it('is taken in: origin, error and attempts as its headers say, and every byte as it is', async (t) => {
    const { url, pool } = await testDatabase(t)
    const millrace = await running(t, { database: url, run: [billing], topics, codeVersion: '7' })
    const twice: Header[] = [
      ['x', Buffer.from('1')],
      ['x', null],
      ['\u001b[2J', Buffer.from([0xff, 0x00])],
    ]
    const records: { key: Buffer | null; value: Buffer | null; headers: Header[] }[] = [
      { key: Buffer.from('k'), value: Buffer.from([0xff, 0x00, 1]), headers: [...SPRING_HEADERS] },
      { key: null, value: null, headers: [...twice, ...CONNECT_HEADERS] },
      { key: Buffer.alloc(0), value: Buffer.alloc(0), headers: [...KARAFKA_HEADERS] },
      { key: null, value: Buffer.from('{"a":1}'), headers: twice },
      // The same record, set aside by another reader: another dead letter.
      { key: Buffer.from('k'), value: Buffer.from('2'), headers: [...SPRING_HEADERS] },
      {
        key: null,
        value: Buffer.from('{}'),
        headers: Array.from({ length: 10_000 }, (_, n) => [`h${n}`, Buffer.from('v')] as const),
      },
    ]
    await millrace.log.append(records.map((record) => ({ topic: 'orders.DLT', ...record })))
    await millrace.publish(ordered, { n: 1 })
    await settled(millrace)
    const letters = await allLetters(pool)
    assert.deepEqual(
      letters.map(({ topic, partition, offset, stage, attempts, error }) =>
        [topic, partition, offset, stage, attempts, error.class.split('.').at(-1)].join(' '),
      ),
      [
        'orders 5 4294967298 apply 3 ListenerExecutionFailedException',
        'orders 0 42 decode 1 DataException',
        'orders 12 99 apply 4 KarafkaDeadLetter',
        'orders.DLT 0 3 apply 1 ForeignDeadLetter',
        'orders 5 4294967298 apply 3 ListenerExecutionFailedException',
        'orders.DLT 0 5 apply 1 ForeignDeadLetter',
      ],
    )
    for (const [index, letter] of letters.entries()) {
      const { key, value, headers, trace, application: name, handler, state, codeVersion } = letter
      assert.deepEqual({ key, value, headers }, records[index])
      const { topicId: _, ...taken } = trace.takenFrom ?? assert.fail('it has no takenFrom')
      assert.deepEqual(taken, { ...TAKEN, offset: String(index) })
      assert.deepEqual([name, handler, state, codeVersion], ['billing', '*', 'open', '7'])
    }
    assert.equal(letters[0]?.recordTimestamp?.toISOString(), '2026-11-01T00:00:00.000Z')
    assert.equal(letters[0]?.error.causes?.[0]?.class, 'com.shop.PriceException')
    const { groups } = await listDeadLetterGroups(pool)
    assert.equal(groups, 4)
    assert.equal((await millrace.summary()).deadLetters, 6)
  })

  it('is read by the names that its program gives its headers', async (t) => {
    const { url, pool } = await testDatabase(t)
    const shipping = application('shipping', {
      deadLetterTopics: { 'orders.DLT': { headers: SMALLRYE_NAMES }, 'other.DLT': {} },
    })
    const millrace = await running(t, {
      database: url,
      run: [shipping],
      topics: { ...topics, 'other.DLT': { partitions: 1 } },
    })
    const record = { key: null, value: Buffer.from('{}') }
    await millrace.log.append([
      { topic: 'orders.DLT', ...record, headers: [...SMALLRYE_HEADERS] },
      { topic: 'orders.DLT', ...record, headers: [...SPRING_HEADERS] },
      { topic: 'other.DLT', ...record, headers: [...SMALLRYE_HEADERS] },
    ])
    await settled(millrace)
    assert.deepEqual(
      (await allLetters(pool))
        .map(({ topic, partition, offset, error }) =>
          [topic, partition, offset, error.class.split('.').at(-1), error.message].join(' '),
        )
        .sort(),
      [
        'orders 3 77 PriceException order 9 has no price',
        'orders 5 4294967298 ListenerExecutionFailedException Listener failed; order 7 has no price',
        'other.DLT 0 0 ForeignDeadLetter another program set it aside, and left no word of why',
      ],
    )
  })

  it('groups those that failed for one cause, whatever their place and ids', async (t) => {
    const { url, pool } = await testDatabase(t)
    const millrace = await running(t, { database: url, run: [billing], topics })
    await millrace.log.append(
      Array.from({ length: 1_500 }, (_, n) => ({
        topic: 'orders.DLT',
        key: null,
        value: Buffer.from(`${n}`),
        headers: [
          ...SPRING_HEADERS,
          ['kafka_dlt-original-offset', int64(BigInt(n))] as const,
          [
            'kafka_dlt-exception-message',
            Buffer.from(`order ${n} of "${n}" has no price`),
          ] as const,
        ],
      })),
    )
    await settled(millrace)
    const { items } = await listDeadLetterGroups(pool)
    assert.deepEqual(
      items.map(({ count }) => count),
      [1_500],
    )
  })

  it('is not made when it is missing, and nobody can handle its records as events', async (t) => {
    const { url } = await testDatabase(t)
    const millrace = await running(t, {
      database: url,
      run: [billing],
      topics: { orders: { partitions: 1 } },
    })
    await millrace.publish(ordered, { n: 1 })
    await settled(millrace)
    assert.equal(await millrace.log.topic('orders.DLT'), undefined)
    const other = event('X', { source: 'S', topic: 'orders.DLT', schema: z.unknown() })
    assert.throws(
      () =>
        billing.on(
          other,
          inTransaction(() => {}),
        ),
      /not among deadLetterTopics/,
    )
    assert.throws(
      () => application('a', { deadLetterTopics: ['a b'] }),
      /deadLetterTopics: expected/,
    )
  })
})
