import type { TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import type { Millrace } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application, type Application } from '../../src/consumer/application.ts'
import { listConsumers } from '../../src/consumer/queries.ts'
import { listFloodStops, type FloodStop } from '../../src/consumer/flood-stops.ts'
import type { EventOf } from '../../src/events/definition.ts'
import { event } from '../../src/events/event.ts'
import type { LogFactory } from '../../src/log/factory.ts'
import { cleanup } from './cleanup.ts'
import { testDatabase } from './database.ts'
import { keepingLogger, running, type LogLine } from './millrace.ts'
import { eventually } from './wait.ts'

const FLOODED = { application: 'app' } as const

/** `{ n, customer }` from `from` up to, not including, `to`, over so many customers. */
export const orders = (
  from: number,
  to: number,
  customers = 40,
): { n: number; customer: string }[] =>
  Array.from({ length: to - from }, (_, i) => ({
    n: from + i,
    customer: `c${(from + i) % customers}`,
  }))

/** `orders` as version 2 has them. */
export const newOrders = (...args: Parameters<typeof orders>) =>
  orders(...args).map((order) => ({ ...order, currency: 'EUR' }))

/** The same event as the code of yesterday and the code of today define it. */
export function orderedIn(topic: string) {
  const common = {
    source: 'TEST',
    topic,
    key: ({ customer }: { readonly customer: string }) => customer,
  }
  const order = z.object({ n: z.int(), customer: z.string() })
  return {
    ordered1: event('ORDERED', { ...common, schema: order }),
    ordered2: event('ORDERED', {
      ...common,
      schema: order.extend({ currency: z.string() }),
      version: 2,
      upcasters: { 1: (data) => ({ ...(data as object), currency: 'EUR' }) },
    }),
  }
}

export const { ordered1, ordered2 } = orderedIn('orders')

/** Writes every order into `done`. */
export const store = inTransaction<EventOf<typeof ordered1> | EventOf<typeof ordered2>>(
  async ({ data: { n, customer } }, { tx }) =>
    void (await tx.query('insert into done (n, customer) values ($1, $2)', [n, customer])),
)

/** The code that cannot read version 2. */
export const oldCode = (options: Parameters<typeof application>[1] = {}): Application =>
  application('app', options).on(ordered1, store)

/** The code that can. */
export const newCode = (options: Parameters<typeof application>[1] = {}): Application =>
  application('app', options).on(ordered2, store)

/** A topic `orders`, whoever publishes to it, and what an operator needs. */
export interface Flooded {
  readonly url: string
  readonly pool: pg.Pool
  readonly producer: Millrace
  readonly operator: Operator
  start(app: Application): Promise<{ readonly millrace: Millrace; readonly lines: LogLine[] }>
  /** What was handled, in order. */
  done(): Promise<{ n: number; customer: string }[]>
  deadLetters(): Promise<number>
  /** Waits until the application is stopped in so many partitions. */
  stopped(count?: number): Promise<FloodStop[]>
  stops(): Promise<FloodStop[]>
  /** Waits until the application has read everything. */
  caughtUp(): Promise<void>
  positions(): Promise<bigint[]>
}

export async function flooded(
  t: TestContext,
  {
    partitions = 1,
    topic = 'orders',
    log: factory,
  }: { readonly partitions?: number; readonly topic?: string; readonly log?: LogFactory } = {},
): Promise<Flooded> {
  const { url, pool } = await testDatabase(t)
  await pool.query('create table done (seq bigserial, n int, customer text)')
  const log = factory === undefined ? {} : { log: factory }
  const producer = await running(t, { database: url, topics: { [topic]: { partitions } }, ...log })
  const operator = await connectOperator({ database: pool, user: 'ana@test', ...log })
  cleanup(t, () => operator.close())
  const consumers = async () => listConsumers(pool, await operator.log(), FLOODED)
  const all: Flooded = {
    url,
    pool,
    producer,
    operator,
    async start(app) {
      const logger = keepingLogger()
      const millrace = await running(t, {
        database: url,
        run: [app],
        logger,
        codeVersion: '1.4.2',
        // A third of it is what a batch may take, and the brake's look at it: on a slow machine a second is too little.
        takeOverMs: 30_000,
        ...log,
      })
      return { millrace, lines: logger.lines }
    },
    async done() {
      const { rows } = await pool.query<{ n: number; customer: string }>(
        'select n, customer from done order by seq',
      )
      return rows
    },
    async deadLetters() {
      const { rows } = await pool.query<{ n: number }>(
        'select count(*)::int as n from millrace.dead_letter',
      )
      return rows[0]?.n ?? -1
    },
    stops: () => listFloodStops(pool, FLOODED),
    stopped: (count = 1) =>
      eventually(async () => {
        const stops = await all.stops()
        return stops.length === count ? stops : undefined
      }) as Promise<FloodStop[]>,
    caughtUp: async () => {
      await eventually(async () => {
        const found = await consumers()
        return (
          found.length > 0 && found.every(({ lag, state }) => lag === 0n && state === 'reading')
        )
      })
    },
    positions: async () => (await consumers()).map(({ position }) => position),
  }
  return all
}
