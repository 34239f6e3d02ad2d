import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type pg from 'pg'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import { start } from '../../src/app/start.ts'
import { getReplay, orderReplay } from '../../src/replay/order.ts'
import { orderRecordsReplay } from '../../src/replay/records-order.ts'
import type { Replay, ReplayPace } from '../../src/replay/replay.ts'
import { cleanup } from '../support/cleanup.ts'
import { testDatabase } from '../support/database.ts'
import { spawnNode, type Scenario } from '../support/process.ts'
import { eventually } from '../support/wait.ts'
import { counted, STORE, type ReplayWorkerConfig, type Subject } from './replay-records.ts'

/** How many records there are, each of them a dead letter when the bed is made. */
export const COUNT = 300
/** One of every hundred cannot be handled by any code. */
const BAD: readonly number[] = [13, 113, 213]
const GOOD = Array.from({ length: COUNT }, (_, n) => n).filter((n) => !BAD.includes(n))

/** Options of {@link replayBed}. */
export interface ReplayBedOptions {
  /** Makes of the database's URL the one by which the mended code reaches it. Default: the same. */
  readonly through?: (url: string) => Promise<string>
}

/** Something to replay, and the processes that do it. */
export interface ReplayBed {
  readonly pool: pg.Pool
  readonly operator: Operator
  readonly subject: Subject
  /** Starts a process of the code that can handle the records. */
  readonly worker: (trap?: ReplayWorkerConfig['trap']) => Promise<Scenario>
  /** Orders a replay of everything. */
  readonly order: (pace?: Partial<ReplayPace>) => Promise<bigint>
  /** Waits until nothing of it is left to do. */
  readonly ended: (id: bigint) => Promise<Replay>
}

/** As many dead letters as there are records, made by code that could handle none. */
export async function replayBed(
  t: TestContext,
  subject: Subject,
  { through = (url) => Promise.resolve(url) }: ReplayBedOptions = {},
): Promise<ReplayBed> {
  const { url, pool } = await testDatabase(t)
  const mendedUrl = await through(url)
  await pool.query('create table done (n int, place bigserial)')
  const operator = await connectOperator({ database: url, user: 'ana@test' })
  cleanup(t, () => operator.close())
  const spawn = async (told: Omit<ReplayWorkerConfig, 'subject'>): Promise<Scenario> => {
    const config: ReplayWorkerConfig = { subject, ...told }
    const process = spawnNode(t, new URL('./replay-worker.ts', import.meta.url), {
      env: { CHAOS_WORKER: JSON.stringify(config) },
    })
    await process.waitFor('ready', { timeoutMs: 60_000 })
    return process
  }
  const broken = await spawn({ databaseUrl: url, mended: false })
  const producer = await start({ database: url, queues: false, upkeep: false })
  await producer.publishMany(
    counted,
    Array.from({ length: COUNT }, (_, n) => ({ n })),
  )
  await producer.stop()
  await eventually(async () => (await letters(pool)).length === COUNT)
  broken.kill('SIGKILL')
  await broken.exited
  return {
    pool,
    operator,
    subject,
    worker: (trap) =>
      spawn({ databaseUrl: mendedUrl, mended: true, ...(trap === undefined ? {} : { trap }) }),
    order: async (pace = {}) => {
      const order = { application: 'app', handler: STORE, topic: counted.topic, ...pace }
      const { id } =
        subject === 'records'
          ? await orderRecordsReplay(operator, order)
          : await orderReplay(operator, { selection: { application: 'app' }, ...pace })
      return id
    },
    ended: (id) =>
      eventually(async () => {
        const now = await getReplay(operator.pool, id)
        const { rows } = await pool.query('select from millrace.job')
        return now.state === 'finished' && rows.length === 0 ? now : undefined
      }) as Promise<Replay>,
  }
}

/** The dead letters in the order of their numbers. Those of a replay of past records have its number, negative. */
export async function letters(
  pool: pg.Pool,
): Promise<{ state: string; replays: number; generation: number }[]> {
  const { rows } = await pool.query<{ state: string; replays: number; generation: number }>(
    'select state, replays, generation from millrace.dead_letter order by id',
  )
  return rows
}

/** The numbers that were handled, in the order in which that was. */
export async function doneNumbers(pool: pg.Pool): Promise<number[]> {
  const { rows } = await pool.query<{ n: number }>('select n from done order by place')
  return rows.map(({ n }) => n)
}

/** Everything once, in order per key, and what is bad is a dead letter, as it was before or of the replay. */
export async function assertReplayed({ pool, subject }: ReplayBed, replay: Replay): Promise<void> {
  const done = await doneNumbers(pool)
  assert.deepEqual(
    done.toSorted((a, b) => a - b),
    GOOD,
  )
  // Whether jobs succeed, and when, is seen in their queue.
  const failed = subject === 'jobs' ? 0 : BAD.length
  assert.deepEqual(
    [replay.passed, replay.failed, replay.skipped],
    [BigInt(COUNT - failed), BigInt(failed), 0n],
  )
  const all = await letters(pool)
  if (subject === 'records') {
    const generation = -Number(replay.id)
    const added = all.slice(COUNT)
    assert.deepEqual(
      added,
      BAD.map(() => ({ state: 'open', replays: 0, generation })),
    )
    assert.ok(all.slice(0, COUNT).every(({ state, replays }) => state === 'open' && replays === 0))
  } else {
    const left = all.filter(({ state }) => state !== 'replayed')
    assert.deepEqual(
      left,
      BAD.map(() => ({ state: 'open', replays: 1, generation: 0 })),
    )
    const { rows: outcomes } = await pool.query<{ n: number }>(
      'select count(*)::int as n from millrace.replay_outcome where replay_id = $1',
      [replay.id],
    )
    assert.equal(outcomes[0]?.n, COUNT)
  }
  if (subject === 'jobs') return
  for (let key = 0; key < 7; key += 1) {
    const ofKey = done.filter((n) => n % 7 === key)
    assert.deepEqual(
      ofKey,
      ofKey.toSorted((a, b) => a - b),
    )
  }
}
