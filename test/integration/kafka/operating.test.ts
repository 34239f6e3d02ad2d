import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { connectOperator, type Operator } from '../../../src/app/operator.ts'
import type { Millrace } from '../../../src/app/start.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import {
  listConsumers,
  listGaps,
  pauseConsumers,
  planResolve,
  planSeek,
  resolveConsumers,
  resumeConsumers,
  seekConsumers,
  type Gap,
  type Resolution,
} from '../../../src/consumer/queries.ts'
import { foreign } from '../../../src/events/foreign.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import type { Log } from '../../../src/log/port.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { running } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const APP = { application: 'app' } as const

interface OnKafka {
  readonly pool: pg.Pool
  readonly log: Log
  readonly topic: string
  readonly operator: Operator
  start(): Promise<Millrace>
  /** Appends numbers `from` up to, not including, `to`. */
  write(from: number, to: number): Promise<void>
  /** What was handled, as `number/generation`, once there are so many. */
  done(count: number): Promise<string[]>
  gap(): Promise<Gap>
  resolve(resolution: Resolution): Promise<void>
}

/** An application that reads a topic of its own with one partition, and has handled the numbers 0 to 4. */
async function onKafka(t: TestContext): Promise<OnKafka> {
  const factory = kafka({ brokers: (await sharedKafka()).brokers })
  const { url, pool } = await testDatabase(t)
  const topic = `operated-${randomBytes(4).toString('hex')}`
  await pool.query(
    'create table done (seq bigint generated always as identity, n int, generation int)',
  )
  const operator = await connectOperator({ database: url, log: factory, user: 'ana@test' })
  cleanup(t, () => operator.close())
  const log = await operator.log()
  await log.createTopic(topic, { partitions: 1 })
  cleanup(t, () => log.deleteTopic(topic))
  const app = application('app').on(
    foreign(topic, { schema: z.object({ n: z.int() }) }),
    inTransaction(
      async ({ data }, { tx, generation }) =>
        void (await tx.query('insert into done (n, generation) values ($1, $2)', [
          data.n,
          generation,
        ])),
    ),
  )
  const all: OnKafka = {
    pool,
    log,
    topic,
    operator,
    start: () => running(t, { database: url, log: factory, run: [app] }),
    async write(from, to) {
      await log.append(
        Array.from({ length: to - from }, (_, i) => ({
          topic,
          key: null,
          value: Buffer.from(JSON.stringify({ n: from + i })),
          headers: [],
        })),
      )
    },
    async done(count) {
      const { rows } = await eventually(async () => {
        const found = await pool.query<{ one: string }>(
          `select n || '/' || generation as one from done order by seq`,
        )
        return found.rows.length >= count ? found : undefined
      }).then((found) => found as pg.QueryResult<{ one: string }>)
      return rows.map(({ one }) => one)
    },
    gap: async () =>
      (await eventually(async () => (await listGaps(pool, { open: true }))[0])) as Gap,
    async resolve(resolution) {
      await resolveConsumers(operator, await planResolve(operator, APP, resolution))
    },
  }
  const first = await all.start()
  await all.write(0, 5)
  await all.done(5)
  await first.stop()
  return all
}

const of = (generation: number, from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `${from + i}/${generation}`)

describe('an operator of an application on Kafka', () => {
  it('moves it back and ahead, pauses and resumes it, and sees how far it is behind', async (t) => {
    const all = await onKafka(t)
    const { operator, topic, pool, log } = all
    await all.start()
    const seek = async (offset: bigint): Promise<void> => {
      await seekConsumers(operator, await planSeek(operator, { ...APP, topic }, { offset }))
    }
    await seek(3n)
    assert.deepEqual(await all.done(7), [...of(0, 0, 5), ...of(1, 3, 5)])
    await pauseConsumers(operator, APP, { reason: 'a moment' })
    await eventually(async () => (await listConsumers(pool, log, APP))[0]?.ownerId === null)
    await all.write(5, 10)
    const [behind] = await listConsumers(pool, log, { ...APP, lagTimes: true })
    assert.deepEqual([behind?.state, behind?.lag], ['paused', 5n])
    assert.ok((behind?.lagMs ?? -1) >= 0)
    await seek(8n)
    await resumeConsumers(operator, APP)
    assert.deepEqual((await all.done(9)).slice(7), of(2, 8, 10))
    const [settled] = await eventually(async () => {
      const list = await listConsumers(pool, log, { ...APP, lagTimes: true })
      return list[0]?.lag === 0n ? list : undefined
    }).then((list) => list ?? [])
    assert.deepEqual([settled?.position, settled?.lagMs], [10n, 0])
  })

  it('adopts a topic that was made anew', async (t) => {
    const all = await onKafka(t)
    const old = await all.log.topic(all.topic)
    await all.log.deleteTopic(all.topic)
    const made = await all.log.createTopic(all.topic, { partitions: 1 })
    await all.write(20, 23)
    await all.start()
    const gap = await all.gap()
    assert.deepEqual(
      [gap.code, gap.topicId, gap.evidence.newTopicId, gap.from],
      ['topic-recreated', old?.id, made.id, 5n],
    )
    await all.resolve({ decision: 'adopt', from: 'beginning' })
    assert.deepEqual(await all.done(8), [...of(0, 0, 5), ...of(0, 20, 23)])
  })

  it('accepts that records were deleted before they were read', async (t) => {
    const all = await onKafka(t)
    const { id } = (await all.log.topic(all.topic)) ?? { id: '' }
    await all.write(5, 12)
    await all.log.purge(id, 0, 9n)
    await all.start()
    const gap = await all.gap()
    assert.deepEqual([gap.code, gap.from, gap.to], ['before-start', 5n, 9n])
    await all.resolve({ decision: 'accept' })
    assert.deepEqual(await all.done(8), [...of(0, 0, 5), ...of(1, 9, 12)])
  })

  it('rewinds to the last record that is as it was handled', async (t) => {
    const all = await onKafka(t)
    const first = await all.start()
    for (const n of [5, 6]) {
      await all.write(n, n + 1)
      await all.done(n + 1)
    }
    await first.stop()
    // As if other records had been handled in the last two batches.
    await all.pool.query(`update millrace.position set last_hash = '\\x00'`)
    await all.pool.query(`update millrace.batch set last_hash = '\\x00' where last_offset >= 5`)
    await all.start()
    const gap = await all.gap()
    assert.equal(gap.code, 'diverged')
    await all.resolve({ decision: 'rewind', to: 'match' })
    assert.deepEqual((await all.done(9)).slice(7), of(1, 5, 7))
  })
})
