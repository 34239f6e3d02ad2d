import type { TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { prepareEvent, publishPrepared } from '../../src/app/operator-publish.ts'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import { start } from '../../src/app/start.ts'
import {
  pauseConsumers,
  planResolve,
  planSeek,
  resolveConsumers,
  resumeConsumers,
  seekConsumers,
} from '../../src/consumer/queries.ts'
import { writeDeadLetters } from '../../src/dead-letter/dead-letter.ts'
import type { OperatorActionName } from '../../src/control/operator-action.ts'
import { discardDeadLetters, editDeadLetter, seenSoFar } from '../../src/dead-letter/order.ts'
import { cancelJobs } from '../../src/jobs/cancel.ts'
import { job } from '../../src/jobs/job.ts'
import { retryJobs } from '../../src/jobs/retry.ts'
import { acceptOutbox } from '../../src/outbox/queries.ts'
import { changeReplay, orderReplay } from '../../src/replay/order.ts'
import { orderRecordsReplay } from '../../src/replay/records-order.ts'
import { cleanup } from './cleanup.ts'
import { testDatabase } from './database.ts'
import { deadLetter } from './dead-letters.ts'
import { newOrders, flooded, oldCode, ordered2 } from './flooded.ts'
import { counted, counting, numbers, operated } from './operating.ts'

/** Where an order is given: nobody else is at work there. */
export interface Bed {
  readonly url: string
  readonly pool: pg.Pool
  readonly operator: Operator
}

/** One order that changes something, and the row of the audit that it must leave. */
interface Order {
  readonly arrange: (t: TestContext) => Promise<Bed>
  /** Uses nothing but the operator, so that any process can give it. */
  readonly give: (operator: Operator) => Promise<unknown>
  readonly row: { readonly filter: unknown; readonly count: number; readonly reason: string }
}

const reason = 'because'
const APP = { application: 'app' }
const SCOPE = { ...APP, topic: 'numbers' }
const PACE = { rate: null, canary: null, stopAfter: null, stopShare: null, maxReplays: 3 }

/** Three dead letters, numbered from 1. */
async function withLetters(t: TestContext): Promise<Bed> {
  const { pool, url } = await testDatabase(t)
  const operator = await connectOperator({ database: pool, user: 'ana@test' })
  cleanup(t, () => operator.close())
  await writeDeadLetters(
    pool,
    [1, 2, 3].map((n) => deadLetter(n, APP)),
  )
  return { url, pool, operator }
}

/** Replay number 1 of them, in a state in which `change` can be done. */
const withReplay =
  (...changes: Parameters<typeof changeReplay>[2][]) =>
  async (t: TestContext): Promise<Bed> => {
    const bed = await withLetters(t)
    await orderReplay(bed.operator, { selection: APP })
    for (const change of changes) await changeReplay(bed.operator, 1n, change)
    return bed
  }

const JOB = '0198c0de-0000-7000-8000-000000000007'
const note = job('note', { args: z.object({ n: z.int() }), handle: () => {} })

/** One job that waits. */
async function withJob(t: TestContext): Promise<Bed> {
  const { pool, url } = await testDatabase(t)
  const millrace = await start({ database: url, queues: false, upkeep: false })
  await millrace.insert(note, { n: 1 })
  await millrace.stop()
  await pool.query('update millrace.job set id = $1', [JOB])
  const operator = await connectOperator({ database: pool, user: 'ana@test' })
  cleanup(t, () => operator.close())
  return { url, pool, operator }
}

/** Behind the position of the application, which has read five records, three were purged. */
async function withGap(t: TestContext): Promise<Bed> {
  const all = await operated(t)
  const { millrace } = await all.start({ app: counting('other') })
  await millrace.publishMany(counted, numbers(5, 10))
  await all.caughtUp('other')
  await all.log.purge(all.topicId, 0, 8n)
  await millrace.stop()
  const stopped = await all.start()
  await all.gap()
  await stopped.millrace.stop()
  return all
}

/** The flood brake has stopped the application in its one partition. */
async function withFlood(t: TestContext): Promise<Bed> {
  const all = await flooded(t)
  await all.producer.publishMany(ordered2, newOrders(0, 200))
  const { millrace } = await all.start(oldCode())
  await all.stopped()
  await millrace.stop()
  await all.producer.stop()
  return all
}

const publish = async (operator: Operator): Promise<unknown> => {
  const event = await prepareEvent(operator, counted, { n: 7 })
  return publishPrepared(operator, [event], { type: 'COUNTED', key: 'k', reason })
}

/** One of each that there is, by the name that the audit has for it. */
export const ORDERS: Readonly<Record<OperatorActionName, Order>> = {
  'dlq.replay': {
    arrange: withLetters,
    give: (operator) => orderReplay(operator, { selection: { ...APP, ids: [1n, 2n] }, reason }),
    row: { filter: { ...APP, ids: ['1', '2'], ...PACE }, count: 2, reason },
  },
  'dlq.dry-run': {
    arrange: withLetters,
    give: (operator) =>
      orderReplay(operator, { selection: APP, dryRun: true, rate: 5, canary: 2, reason }),
    row: { filter: { ...APP, ...PACE, rate: 5, canary: 2 }, count: 3, reason },
  },
  'dlq.edit': {
    arrange: withLetters,
    give: (operator) => editDeadLetter(operator, 2n, { value: null, reason }),
    row: { filter: { id: '2' }, count: 1, reason },
  },
  'dlq.discard': {
    arrange: withLetters,
    give: async (operator) =>
      discardDeadLetters(
        operator,
        { ...APP, from: 2n },
        { reason, seen: await seenSoFar(operator.pool) },
      ),
    row: { filter: { ...APP, from: '2' }, count: 2, reason },
  },
  'replays.pause': {
    arrange: withReplay(),
    give: (operator) => changeReplay(operator, 1n, 'pause', { reason }),
    row: { filter: { replay: '1' }, count: 1, reason },
  },
  'replays.resume': {
    arrange: withReplay('pause'),
    give: (operator) => changeReplay(operator, 1n, 'resume', { reason }),
    row: { filter: { replay: '1' }, count: 1, reason },
  },
  'replays.abort': {
    arrange: withReplay(),
    give: (operator) => changeReplay(operator, 1n, 'abort', { reason }),
    row: { filter: { replay: '1' }, count: 1, reason },
  },
  'records.replay': {
    arrange: operated,
    give: (operator) =>
      orderRecordsReplay(operator, { ...SCOPE, handler: 'done', from: { offset: 2n }, reason }),
    row: {
      filter: { ...SCOPE, handler: 'done', from: { offset: '2' }, ...PACE },
      count: 3,
      reason,
    },
  },
  'records.dry-run': {
    arrange: operated,
    give: (operator) =>
      orderRecordsReplay(operator, {
        ...SCOPE,
        handler: 'done',
        partition: 0,
        dryRun: true,
        reason,
      }),
    row: { filter: { ...SCOPE, handler: 'done', partition: 0, ...PACE }, count: 5, reason },
  },
  'jobs.cancel': {
    arrange: withJob,
    give: (operator) =>
      cancelJobs(operator, [JOB], { user: operator.user, filter: { ids: [JOB] }, reason }),
    row: { filter: { ids: [JOB] }, count: 1, reason },
  },
  'jobs.retry': {
    arrange: async (t) => {
      const bed = await withJob(t)
      await cancelJobs(bed.operator, [JOB])
      return bed
    },
    give: (operator) =>
      retryJobs(operator, [JOB], { user: operator.user, filter: { ids: [JOB] }, reason }),
    row: { filter: { ids: [JOB] }, count: 1, reason },
  },
  'consumers.pause': {
    arrange: operated,
    give: (operator) => pauseConsumers(operator, SCOPE, { reason }),
    row: { filter: SCOPE, count: 1, reason },
  },
  'consumers.resume': {
    arrange: async (t) => {
      const bed = await operated(t)
      await pauseConsumers(bed.operator, SCOPE, { reason: 'before' })
      return bed
    },
    give: (operator) => resumeConsumers(operator, APP, { reason }),
    row: { filter: APP, count: 1, reason },
  },
  'consumers.accept-failures': {
    arrange: withFlood,
    give: (operator) => resumeConsumers(operator, APP, { acceptFailures: { reason } }),
    row: { filter: APP, count: 1, reason },
  },
  'consumers.seek': {
    arrange: operated,
    give: async (operator) =>
      seekConsumers(operator, await planSeek(operator, SCOPE, { offset: 2n }), { reason }),
    row: { filter: { ...SCOPE, to: { offset: '2' } }, count: 1, reason },
  },
  'consumers.resolve': {
    arrange: withGap,
    give: async (operator) =>
      resolveConsumers(operator, await planResolve(operator, APP, { decision: 'accept' }), {
        reason,
      }),
    row: { filter: { ...APP, decision: 'accept' }, count: 1, reason },
  },
  'events.publish': {
    arrange: operated,
    give: publish,
    row: { filter: { type: 'COUNTED', key: 'k' }, count: 1, reason },
  },
  'outbox.accept': {
    arrange: async (t) => {
      const bed = await withLetters(t)
      await bed.pool.query(
        `update millrace.outbox_shard set halted = 'a reason', cursor = '' where shard = 1`,
      )
      return bed
    },
    give: (operator) => acceptOutbox({ ...operator, reason }, [{ shard: 1, behind: null }]),
    row: { filter: [{ shard: 1, behind: null }], count: 1, reason },
  },
}
