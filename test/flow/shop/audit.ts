import assert from 'node:assert/strict'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type pg from 'pg'
import type { Figures } from '../../../apps/shop/src/figures.ts'
import { readPurchases } from '../../../apps/shop/src/purchases.ts'
import {
  breakageOf,
  receiptOf,
  tillRecord,
  type Breakage,
} from '../../../apps/shop/src/tills/till-record.ts'

const purchases = await readPurchases()

/** At which stage a broken record becomes a dead letter. */
const STAGE: Readonly<Record<Breakage, string>> = {
  'cut off': 'decode',
  'price as text': 'validate',
  'no household': 'validate',
}

/** What is right in a shop that has nothing left to do. */
export interface Expected {
  /** Written by the tills. */
  readonly purchases: number
  /** Numbers of the purchases that arrived broken. */
  readonly broken: readonly number[]
  /** Ids of the orders, in order. */
  readonly orders: readonly string[]
}

/** What stands in the log. */
export interface SeenRecord {
  readonly value: Uint8Array
  /** The header `ce_type`, if it has one. */
  readonly type: string | undefined
}

/** Gives all records of a topic. */
export type TopicReader = (topic: string) => Promise<readonly SeenRecord[]>

/** Reads the table log by SQL. */
function tableReader(pool: pg.Pool): TopicReader {
  return async (topic) => {
    const { rows } = await pool.query<{ value: Buffer; headers: string | null }>(
      `select r.value, r.headers::text as headers
       from millrace.record r join millrace.topic t on t.id = r.topic_id where t.name = $1`,
      [topic],
    )
    return rows.map(({ value, headers }) => ({
      value,
      type: (JSON.parse(headers ?? '[]') as [string, string][]).find(
        ([name]) => name === 'ce_type',
      )?.[1],
    }))
  }
}

/** Looks at a shop that has nothing left to do from outside, by SQL and in its mailbox: nothing is lost or doubled. */
export async function audit(
  pool: pg.Pool,
  home: string,
  read: TopicReader = tableReader(pool),
): Promise<Expected> {
  const expected = await expectedOf(pool)
  await auditTills(read, expected)
  await auditDeadLetters(pool, expected)
  await auditOrders(pool, read, expected)
  await auditMails(pool, home, expected)
  return expected
}

/** The last figures say the same as what is there. */
export function auditFigures(
  last: Figures,
  { purchases: written, broken, orders }: Expected,
): void {
  const { at, filtered, mailsAgain, deadLetterAgeMs, ...figures } = last
  assert.ok(Number.isFinite(Date.parse(at)))
  assert.ok(mailsAgain >= 0)
  assert.equal(filtered, 2 * orders.length, 'each reader of the orders passes over the other type')
  // Fewer purchases than it takes for a broken one leave none.
  assert.equal(deadLetterAgeMs === null, broken.length === 0, `${deadLetterAgeMs}`)
  assert.deepEqual(figures, {
    purchases: written,
    events: written + 2 * orders.length,
    handled: 3 * orders.length,
    jobsCompleted: orders.length,
    attemptsFailed: 0,
    deadLetters: broken.length,
    deadLettersOpen: broken.length,
    deadLettersLastHour: broken.length,
    backlog: 0,
    lag: 0,
    partitionsHalted: 0,
    outbox: 0,
    outboxAgeMs: null,
    mails: orders.length,
    database: 'up',
  })
}

async function expectedOf(pool: pg.Pool): Promise<Expected> {
  const written = Number(await one(pool, 'select next_purchase from shop_tills.progress'))
  const numbers = Array.from({ length: written }, (_, number) => number)
  const isBroken = (number: number): boolean => breakageOf(number) !== undefined
  return {
    purchases: written,
    broken: numbers.filter(isBroken),
    orders: numbers
      .filter((number) => !isBroken(number))
      .map((number) => receiptOf(purchases, number))
      .sort(),
  }
}

async function auditTills(read: TopicReader, { purchases: written }: Expected): Promise<void> {
  const stored = (await read('till-purchases')).map(({ value }) => hex(value)).sort()
  const wanted = Array.from({ length: written }, (_, n) => hex(tillRecord(purchases, n).value))
  assert.deepEqual(stored, wanted.sort(), 'every purchase is in the log once')
}

async function auditDeadLetters(pool: pg.Pool, { broken }: Expected): Promise<void> {
  const found = await column(
    pool,
    `select concat_ws(' ', application, stage, encode(key, 'hex'), '|', encode(value, 'hex'))
     from millrace.dead_letter order by 1`,
  )
  const wanted = broken.map((number) => {
    const { key, value } = tillRecord(purchases, number)
    const stage = STAGE[breakageOf(number) ?? assert.fail('not broken')]
    return ['orders', stage, ...(key === null ? [] : [hex(key)]), '|', hex(value)].join(' ')
  })
  assert.deepEqual(found, wanted.sort(), 'every broken purchase is a dead letter with its bytes')
}

async function auditOrders(pool: pg.Pool, read: TopicReader, { orders }: Expected): Promise<void> {
  const ids = async (sql: string): Promise<unknown[]> => (await column(pool, sql)).sort()
  assert.deepEqual(await ids('select order_id from shop_orders.placed_order'), orders, 'orders')
  assert.deepEqual(await ids('select order_id from shop_orders.order_item'), orders, 'items')
  assert.deepEqual(
    await ids('select order_id from shop_commissions.commission'),
    orders,
    'commissions',
  )
  const records = await read('orders')
  for (const type of ['ORDER_PLACED', 'ITEM_SOLD']) {
    const published = records
      .filter((record) => record.type === type)
      .map(({ value }) => (JSON.parse(String(Buffer.from(value))) as { orderId: string }).orderId)
      .sort()
    assert.deepEqual(published, orders, type)
  }
  const off = `select i.order_id from shop_orders.order_item i
     join shop_orders.placed_order p using (order_id)
     join shop_commissions.commission c on (c.order_id, c.item_id) = (i.order_id, i.item_id)
     where p.total_cents <> i.price_cents
       or c.commission_cents <> floor(i.price_cents * c.rate_percent / 100.0 + 0.5)`
  assert.deepEqual(await column(pool, off), [], 'amounts')
}

async function auditMails(pool: pg.Pool, home: string, { orders }: Expected): Promise<void> {
  const noted = await column(pool, 'select order_id from shop_mail.sent_mail')
  assert.deepEqual(noted.sort(), orders, 'mails noted as sent')
  const folder = join(home, 'mailbox', 'new')
  const mails = await Promise.all(
    (await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')),
  )
  const subjects = mails.map((mail) => /^Subject: Your order (.+)\r$/m.exec(mail)?.[1] ?? mail)
  assert.deepEqual(subjects.sort(), orders, 'mails in the mailbox')
  const messageIds = mails.map((mail) => /^Message-ID: (<.+>)\r$/m.exec(mail)?.[1] ?? mail)
  const notedIds = await column(pool, 'select message_id from shop_mail.sent_mail')
  assert.deepEqual(messageIds.sort(), notedIds.sort(), 'Message-IDs')
}

async function one(pool: pg.Pool, sql: string): Promise<unknown> {
  return (await column(pool, sql))[0]
}

async function column(pool: pg.Pool, sql: string): Promise<unknown[]> {
  const { rows } = await pool.query<unknown[]>({ text: sql, rowMode: 'array' })
  return rows.map(([value]) => value)
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
