import type { TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import type { Millrace } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application, type Application } from '../../src/consumer/application.ts'
import { listDeadLetters } from '../../src/dead-letter/queries.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import { event } from '../../src/events/event.ts'
import { getReplay, orderReplay, type ReplayOrder } from '../../src/replay/order.ts'
import type { Replay } from '../../src/replay/replay.ts'
import { cleanup } from './cleanup.ts'
import { testDatabase } from './database.ts'
import { running, settled } from './millrace.ts'
import { eventually } from './wait.ts'

/** Numbers of three keys. */
export const counted = event('COUNTED', {
  source: 'TEST',
  topic: 'numbers',
  schema: z.object({ n: z.int() }),
  key: (data) => `key-${data.n % 3}`,
})

/** Which numbers fail, changed by "deploys". */
export interface Deploy {
  bad: (n: number) => boolean
}

/** Dead letters of numbers, and what is ordered about them. */
export interface Bed {
  readonly pool: pg.Pool
  readonly millrace: Millrace
  readonly operator: Operator
  readonly deploy: Deploy
  /** Numbers that were handled, in order. */
  readonly done: () => Promise<number[]>
  /** Orders a replay and waits until it is at rest. */
  readonly replay: (order?: Partial<ReplayOrder>) => Promise<Replay>
  readonly open: () => Promise<number>
}

/** Publishes `count` numbers to an application whose code cannot handle those that are `bad`. */
export async function bed(
  t: TestContext,
  count: number,
  bad: (n: number) => boolean,
  make: (deploy: Deploy) => Application = storing,
  topics: Record<string, { partitions: number }> = {},
): Promise<Bed> {
  const { url, pool } = await testDatabase(t)
  await pool.query('create table done (n int, place bigserial)')
  const deploy: Deploy = { bad }
  const millrace = await running(t, {
    database: url,
    run: [make(deploy)],
    topics: { numbers: { partitions: 3 }, ...topics },
  })
  const operator = await connectOperator({ database: url, user: 'ana@test' })
  cleanup(t, () => operator.close())
  await millrace.publishMany(
    counted,
    Array.from({ length: count }, (_, n) => ({ n })),
  )
  await settled(millrace)
  const atRest = (id: bigint): Promise<Replay> =>
    eventually(async () => {
      const now = await getReplay(operator.pool, id)
      return now.state === 'running' ? undefined : now
    }) as Promise<Replay>
  return {
    pool,
    millrace,
    operator,
    deploy,
    done: async () =>
      (await pool.query<{ n: number }>('select n from done order by place')).rows.map(({ n }) => n),
    replay: async (order = {}) => {
      const { id } = await orderReplay(operator, {
        selection: { application: 'app' },
        ...order,
      })
      return atRest(id)
    },
    open: async () =>
      (await listDeadLetters(operator.pool, { state: 'open', limit: 1_000 })).length,
  }
}

/** Stores every number that is not bad. */
export const storing = (deploy: Deploy): Application =>
  application('app', { floodBrake: false }).on(
    counted,
    inTransaction(async ({ data }, { tx }) => {
      if (deploy.bad(data.n)) throw permanent(`${data.n} is not to be counted`)
      await tx.query('insert into done (n) values ($1)', [data.n])
    }),
  )

/** State and numbers of a replay. */
export const counts = ({ state, passed, failed, skipped, parked }: Replay): unknown => ({
  state,
  passed: Number(passed),
  failed: Number(failed),
  skipped: Number(skipped),
  parked: Number(parked),
})
