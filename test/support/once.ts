import type { TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import type { StartOptions } from '../../src/app/options.ts'
import { start, type Millrace } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { toJob } from '../../src/bridge/to-job.ts'
import {
  application,
  type Application,
  type ApplicationOptions,
} from '../../src/consumer/application.ts'
import { planSeek, seekConsumers } from '../../src/consumer/seek.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import { event } from '../../src/events/event.ts'
import { job } from '../../src/jobs/job.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { getReplay } from '../../src/replay/order.ts'
import type { Replay } from '../../src/replay/replay.ts'
import { cleanup } from './cleanup.ts'
import { testDatabase } from './database.ts'
import { sharedKafka } from './kafka.ts'
import { kafkajsProduce } from './kafkajs-peer.ts'
import { running } from './millrace.ts'
import { eventually } from './wait.ts'

/** A record of event `id`, in a partition. */
export type Copy = readonly [id: string, partition?: number]

/** What the handlers do about an event, changed by "deploys". */
export interface Code {
  /** Ids that the handlers refuse for good. */
  refused: string[]
  /** Ids that `prepare` was asked about. */
  readonly prepared: string[]
}

export interface Bed {
  readonly pool: pg.Pool
  readonly operator: Operator
  readonly code: Code
  /** Appends events as a producer does that knows nothing of what it has appended before. */
  readonly append: (...copies: readonly Copy[]) => Promise<void>
  /** Starts a process with the application. */
  readonly run: (options?: Partial<StartOptions>) => Promise<Millrace>
  readonly rewind: () => Promise<void>
  /** What was handled, in that order: `id` where it is of the first reading, else `id/generation`. */
  readonly handled: (handler: 'mail' | 'ledger' | 'every') => Promise<string[]>
  /** How many records were filtered as duplicates, all handlers together. */
  readonly duplicates: () => Promise<number>
  readonly atRest: (id: bigint) => Promise<Replay>
  readonly topic: string
}

/** An application of which two handlers handle an event once, and one handles every record. */
export async function bed(
  t: TestContext,
  kind: 'table' | 'kafka',
  options: ApplicationOptions = {},
): Promise<Bed> {
  const { url, pool } = await testDatabase(t)
  await pool.query(
    'create table done (handler text, id text, generation int, place bigserial primary key)',
  )
  const brokers = kind === 'kafka' ? (await sharedKafka()).brokers : []
  const log = kind === 'kafka' ? { log: kafka({ brokers }) } : {}
  const topic = `paid-${crypto.randomUUID()}`
  const writer = await start({
    database: url,
    ...log,
    queues: false,
    topics: { [topic]: { partitions: 3 } },
  })
  cleanup(t, () => writer.stop())
  const operator = await connectOperator({ database: url, user: 'ana@test', ...log })
  cleanup(t, () => operator.close())
  const code: Code = { refused: [], prepared: [] }
  const app = paying(topic, code, options)
  return {
    pool,
    operator,
    code,
    topic,
    async append(...copies) {
      const records = copies.map(([id, partition = 0]) => ({
        partition,
        key: 'k',
        value: JSON.stringify({ id }),
        headers: {
          ce_specversion: '1.0',
          ce_id: id,
          ce_type: 'PAID',
          ce_source: 'BANK',
          'content-type': 'application/json',
        },
      }))
      if (kind === 'kafka') {
        // One partition a request: of one to several, KafkaJS sends all again when one of them has no leader yet, as in a
        // topic that was just made. That is what this is about, but here the numbers are to be known.
        for (const some of Map.groupBy(records, ({ partition }) => partition).values())
          await kafkajsProduce(brokers, topic, some)
        return
      }
      await writer.log.append(
        records.map(({ partition, key, value, headers }) => ({
          topic,
          partition,
          key: Buffer.from(key),
          value: Buffer.from(value),
          headers: Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)]),
        })),
      )
    },
    run: (more = {}) => running(t, { database: url, run: [app], ...log, ...more }),
    async rewind() {
      const scope = { application: 'shop', topic }
      await seekConsumers(operator, await planSeek(operator, scope, 'beginning'))
    },
    async handled(handler) {
      const { rows } = await pool.query<{ id: string; generation: number }>(
        'select id, generation from done where handler = $1 order by place',
        [handler],
      )
      return rows.map(({ id, generation }) => (generation === 0 ? id : `${id}/${generation}`))
    },
    async duplicates() {
      const { rows } = await pool.query<{ n: number }>(
        `select coalesce(sum((filtered_by ->> 'duplicate')::int), 0)::int as n from millrace.batch`,
      )
      return rows[0]?.n ?? 0
    },
    atRest: (id) =>
      eventually(async () => {
        const now = await getReplay(pool, id)
        return now.state === 'running' ? undefined : now
      }) as Promise<Replay>,
  }
}

function paying(topic: string, code: Code, options: ApplicationOptions): Application {
  const paid = event('PAID', { source: 'BANK', topic, schema: z.object({ id: z.string() }) })
  const note = `insert into done (handler, id, generation) values ($1, $2, $3)`
  const mail = job('mail', {
    args: z.object({ id: z.string() }),
    handle: ({ id }, context) =>
      context.transaction(async (tx) => {
        await tx.query(note, ['mail', id, context.origin?.generation])
      }),
  })
  const refuse = (id: string): void => {
    if (code.refused.includes(id)) throw permanent(`${id} is refused`)
  }
  return application('shop', { floodBrake: false, ...options })
    .on(
      paid,
      toJob(mail, ({ data: { id } }) => {
        code.prepared.push(id)
        refuse(id)
        return { id }
      }),
      { once: '7d' },
    )
    .on(
      paid,
      inTransaction(async ({ data: { id } }, { tx, generation }) => {
        refuse(id)
        await tx.query(note, ['ledger', id, generation])
      }),
      { name: 'ledger', once: '1h' },
    )
    .on(
      paid,
      inTransaction(async ({ data: { id } }, { tx, generation }) => {
        await tx.query(note, ['every', id, generation])
      }),
      { name: 'every' },
    )
}
