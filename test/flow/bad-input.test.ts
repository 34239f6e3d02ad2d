import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import type { Millrace } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application } from '../../src/consumer/application.ts'
import { getDeadLetter, listDeadLetters } from '../../src/dead-letter/queries.ts'
import { event } from '../../src/events/event.ts'
import { foreign } from '../../src/events/foreign.ts'
import type { Header } from '../../src/events/raw-record.ts'
import { tombstone } from '../../src/events/tombstone.ts'
import { BOTH_LOGS, type TestedLog } from '../support/both-logs.ts'
import { testDatabase } from '../support/database.ts'
import { running, settled } from '../support/millrace.ts'

const item = z.looseObject({ item: z.string() })

const bytes = (text: string): Uint8Array => Buffer.from(text)
const LIMIT = 200_000

interface Case {
  readonly title: string
  readonly value: Uint8Array | null
  readonly headers?: readonly Header[]
  /** Of its dead letter. Default `decode`. */
  readonly stage?: 'validate'
  /** Of its error. Default `E_EVENT_UNDECODABLE`. */
  readonly code?: string
}

const ce = (id: string, more: readonly Header[] = []): Header[] => [
  ['ce_specversion', bytes('1.0')],
  ['ce_id', bytes(id)],
  ['ce_type', bytes('SOLD')],
  ['ce_source', bytes('TEST')],
  ['ce_time', bytes('2026-11-22T12:00:00.000Z')],
  ...more,
]

const SET_ASIDE: readonly Case[] = [
  {
    title: 'invalid UTF-8',
    value: Uint8Array.from([0x7b, 0x22, 0x69, 0xff, 0xfe, 0x22, 0x7d]),
  },
  { title: 'an empty value', value: new Uint8Array(0) },
  { title: 'cut JSON', value: bytes('{"item":"yog') },
  { title: 'wrong types', value: bytes('{"item":7}'), stage: 'validate', code: 'E_EVENT_INVALID' },
  {
    title: 'an unknown version of a handled type',
    value: bytes('{"item":"x"}'),
    headers: [['ce_dataversion', bytes('7')]],
    code: 'E_EVENT_VERSION',
  },
  { title: 'an escaped NUL', value: bytes('{"item":"a\\u0000b"}') },
  { title: 'a lone surrogate', value: bytes('{"item":"a\\ud800b"}') },
  { title: 'a lone surrogate in a key', value: bytes('{"item":"a","\\udc00":1}') },
  {
    title: 'nesting of 5,000',
    value: bytes(`{"item":"a","deep":${'['.repeat(5_000)}${']'.repeat(5_000)}}`),
    code: 'E_EVENT_TOO_LARGE',
  },
  {
    title: 'a value of 5 MB over the limit',
    value: bytes(JSON.stringify({ item: 'x'.repeat(5_000_000) })),
    code: 'E_EVENT_TOO_LARGE',
  },
]

const HANDLED: readonly Case[] = [
  {
    title: '__proto__ keys',
    value: bytes(
      '{"item":"proto","__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}',
    ),
  },
  { title: 'duplicate keys', value: bytes('{"item":"first","item":"last"}') },
  { title: 'integers past 2^53', value: bytes('{"item":"big","n":9007199254740993}') },
  {
    title: '300 headers',
    value: bytes('{"item":"headers"}'),
    headers: Array.from({ length: 300 }, (_, i): Header => [`h${i}`, bytes(`v${i}`)]),
  },
  {
    title: 'duplicate headers',
    value: bytes('{"item":"doubled"}'),
    headers: [
      ['same', bytes('a')],
      ['same', bytes('b')],
      ['none', null],
      ['raw', Uint8Array.from([0xff, 0])],
    ],
  },
]

const shown = ([name, value]: Header): unknown => [
  name,
  value && Buffer.from(value).toString('base64'),
]

async function setup(
  t: TestContext,
  log: TestedLog,
): Promise<{ pool: pg.Pool; millrace: Millrace; topic: string }> {
  const { url, pool } = await testDatabase(t)
  const { topic, options } = await log.use(t, 'sales')
  const sold = event('SOLD', { source: 'TEST', topic, schema: item })
  await pool.query(
    'create table handled (offset_ bigint, item text, extra text, value bytea, headers json)',
  )
  const app = application('app', { maxValueBytes: LIMIT }).on(
    sold,
    inTransaction(async ({ data }, { tx, record }) => {
      await tx.query('insert into handled values ($1, $2, $3, $4, $5)', [
        record.offset,
        data.item,
        String((data as { n?: number }).n ?? ''),
        record.value,
        JSON.stringify(
          record.headers.map(([name, value]) => [
            name,
            value === null ? null : Buffer.from(value).toString('base64'),
          ]),
        ),
      ])
    }),
  )
  const millrace = await running(t, {
    database: url,
    run: [app],
    topics: { [topic]: { partitions: 1 } },
    ...options,
  })
  return { pool, millrace, topic }
}

for (const log of BOTH_LOGS) {
  describe(`bad input on ${log.name}`, () => {
    it('is set aside with its exact bytes, each kind of it, and everything around it is handled', async (t) => {
      const { pool, millrace, topic } = await setup(t, log)
      const good = (i: number) => ({
        topic,
        key: null,
        value: bytes(`{"item":"good ${i}"}`),
        headers: ce(`good-${i}`),
      })
      const appended = await millrace.log.append(
        SET_ASIDE.flatMap(({ value, headers = [] }, i) => [
          good(i),
          { topic, key: bytes(`k${i}`), value, headers: ce(`bad-${i}`, headers) },
        ]),
      )
      await settled(millrace)
      const letters = await listDeadLetters(pool as never, { limit: 1_000 })
      assert.equal(letters.length, SET_ASIDE.length)
      for (const [i, { title, value, headers = [], ...failure }] of SET_ASIDE.entries()) {
        const summary = letters.find(({ offset }) => offset === appended[2 * i + 1]?.offset)
        assert.ok(summary, `${title} is a dead letter`)
        const letter = await getDeadLetter(pool as never, summary.id)
        assert.deepEqual(hash(letter.value), hash(value), `${title} keeps its bytes`)
        assert.equal(Buffer.from(letter.key as Uint8Array).toString(), `k${i}`)
        assert.equal(letter.eventId, `bad-${i}`, title)
        assert.equal(letter.handler, '*')
        assert.deepEqual(
          [letter.stage, letter.error.code],
          [failure.stage ?? 'decode', failure.code ?? 'E_EVENT_UNDECODABLE'],
          title,
        )
        assert.deepEqual(letter.headers.map(shown), ce(`bad-${i}`, headers).map(shown), title)
        assert.ok(letter.error.message.length < 2_000, `${title} does not quote the whole value`)
      }
      assert.equal((await pool.query('select from handled')).rowCount, SET_ASIDE.length)
    })

    it('that is only odd is handled like any other', async (t) => {
      const { pool, millrace, topic } = await setup(t, log)
      await millrace.log.append(
        HANDLED.map(({ value, headers = [] }, i) => ({
          topic,
          key: null,
          value,
          headers: ce(`odd-${i}`, headers),
        })),
      )
      await settled(millrace)
      assert.deepEqual(await listDeadLetters(pool as never), [])
      const { rows } = await pool.query<{
        item: string
        extra: string
        value: Buffer
        headers: [string, string | null][]
      }>('select * from handled order by offset_')
      assert.deepEqual(
        rows.map(({ item }) => item),
        ['proto', 'last', 'big', 'headers', 'doubled'],
      )
      for (const [i, { value, title }] of HANDLED.entries())
        assert.deepEqual(rows[i]?.value, Buffer.from(value as Uint8Array), title)
      assert.equal(({} as { polluted?: boolean }).polluted, undefined)
      assert.equal(rows[2]?.extra, '9007199254740992', 'numbers are doubles; the bytes are kept')
      assert.equal(rows[3]?.headers.length, 305)
      assert.deepEqual(rows[4]?.headers.slice(5), [
        ['same', 'YQ=='],
        ['same', 'Yg=='],
        ['none', null],
        ['raw', '/wA='],
      ])
    })

    it('from a till is set aside as well, and what the till wrote well is an event with a stable id', async (t) => {
      const { url, pool } = await testDatabase(t)
      const { topic, options } = await log.use(t, 'till')
      const till = foreign(topic, { schema: item })
      await pool.query('create table handled (id text, item text)')
      const app = application('app').on(
        till,
        inTransaction(
          async ({ id, data }, { tx }) =>
            void (await tx.query('insert into handled values ($1, $2)', [id, data.item])),
        ),
      )
      const millrace = await running(t, {
        database: url,
        run: [app],
        topics: { [topic]: { partitions: 1 } },
        ...options,
      })
      const values = ['{"item":"a"}', '{"item":', '{"item":1}', '{"item":"b"}']
      await millrace.log.append(
        values.map((value) => ({ topic, key: null, value: bytes(value), headers: [] })),
      )
      await settled(millrace)
      const { rows } = await pool.query<{ id: string; item: string }>(
        'select * from handled order by item',
      )
      assert.deepEqual(
        rows.map(({ item }) => item),
        ['a', 'b'],
      )
      assert.equal(new Set(rows.map(({ id }) => id)).size, 2)
      assert.deepEqual(
        (await listDeadLetters(pool as never)).map(({ offset, stage }) => [offset, stage]),
        [
          [2n, 'validate'],
          [1n, 'decode'],
        ],
      )
    })

    it('that nobody handles is counted and passed, whatever its bytes', async (t) => {
      const { pool, millrace, topic } = await setup(t, log)
      const other: Header[] = ce('other').map(([name, value]) => [
        name,
        name === 'ce_type' ? bytes('BOUGHT') : value,
      ])
      const { value } = SET_ASIDE[0] as Case
      await millrace.log.append([
        { topic, key: null, value, headers: other },
        { topic, key: bytes('k'), value: null, headers: [] },
        { topic, key: null, value: bytes('{"item":"good"}'), headers: ce('good') },
      ])
      await settled(millrace)
      assert.deepEqual(await listDeadLetters(pool as never), [])
      assert.deepEqual((await pool.query('select item from handled')).rows, [{ item: 'good' }])
      const { rows } = await pool.query(
        `select key as reason, sum(value::int)::int as records
         from millrace.batch, json_each_text(filtered_by) group by 1 order by 1`,
      )
      assert.deepEqual(rows, [
        { reason: 'tombstone', records: 1 },
        { reason: 'unhandled type', records: 1 },
      ])
    })

    it('is told apart: a tombstone is no empty value, and is handled by those who ask for it', async (t) => {
      const { url, pool } = await testDatabase(t)
      const { topic, options } = await log.use(t, 'sales')
      await pool.query('create table gone (key text)')
      const app = application('app').on(
        tombstone(topic),
        inTransaction(
          async ({ key }, { tx }) => void (await tx.query('insert into gone values ($1)', [key])),
        ),
      )
      const millrace = await running(t, {
        database: url,
        run: [app],
        topics: { [topic]: { partitions: 1 } },
        ...options,
      })
      await millrace.log.append([{ topic, key: bytes('p1'), value: null, headers: [] }])
      await settled(millrace)
      assert.deepEqual((await pool.query('select key from gone')).rows, [{ key: 'p1' }])
    })
  })
}

function hash(value: Uint8Array | null): string {
  return value === null ? 'null' : createHash('sha256').update(value).digest('hex')
}
