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
import {
  counted,
  isBad,
  STORE,
  type ReplayWorkerConfig,
  type Scale,
  type Subject,
} from './replay-records.ts'

/** How many records there are where nothing else is said, each of them a dead letter when the bed is made. */
export const COUNT = 300
const FEW: Scale = { count: COUNT, badEvery: 100, batchRecords: 50 }
/** As many as a bad deploy leaves behind. */
export const MANY: Scale = { count: 100_000, badEvery: 10_000, batchRecords: 500 }
const PUBLISHED = 5_000

/** Options of {@link replayBed}. */
export interface ReplayBedOptions {
  /** How much there is. Default 300, of which three are bad. Of more than that, the dead letters are written as one statement. */
  readonly scale?: Scale
  /** Makes of the database's URL the one by which the mended code reaches it. Default: the same. */
  readonly through?: (url: string) => Promise<string>
}

/** Something to replay, and the processes that do it. */
export interface ReplayBed {
  readonly url: string
  readonly scale: Scale
  readonly pool: pg.Pool
  readonly operator: Operator
  readonly subject: Subject
  /** Starts a process of the code that can handle the records. */
  readonly worker: (trap?: ReplayWorkerConfig['trap']) => Promise<Scenario>
  /** Orders a replay of everything. */
  readonly order: (pace?: Partial<ReplayPace>) => Promise<bigint>
  /** Waits until nothing of it is left to do; at most a minute, or so many milliseconds. */
  readonly ended: (id: bigint, timeoutMs?: number) => Promise<Replay>
}

/** As many dead letters as there are records, made by code that could handle none. */
export async function replayBed(
  t: TestContext,
  subject: Subject,
  { scale = FEW, through = (url) => Promise.resolve(url) }: ReplayBedOptions = {},
): Promise<ReplayBed> {
  const { url, pool } = await testDatabase(t)
  const mendedUrl = await through(url)
  await pool.query('create table done (n int, place bigserial)')
  const operator = await connectOperator({ database: url, user: 'ana@test' })
  cleanup(t, () => operator.close())
  const spawn = async (
    told: Pick<ReplayWorkerConfig, 'databaseUrl' | 'mended' | 'trap'>,
  ): Promise<Scenario> => {
    const start = scale === FEW ? 'beginning' : 'end'
    const config: ReplayWorkerConfig = { subject, start, ...scale, ...told }
    const process = spawnNode(t, new URL('./replay-worker.ts', import.meta.url), {
      env: { CHAOS_WORKER: JSON.stringify(config) },
    })
    await process.waitFor('ready', { timeoutMs: 60_000 })
    return process
  }
  if (scale === FEW) {
    const broken = await spawn({ databaseUrl: url, mended: false })
    await publish(url, scale)
    await eventually(async () => (await letters(pool)).length === COUNT)
    broken.kill('SIGKILL')
    await broken.exited
  } else {
    await publish(url, scale)
    await setAllAside(pool)
  }
  return {
    url,
    scale,
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
    ended: (id, timeoutMs = 60_000) =>
      eventually(
        async () => {
          const now = await getReplay(operator.pool, id)
          const { rows } = await pool.query('select from millrace.job limit 1')
          const open = subject === 'made-jobs' ? 0 : rows.length
          return now.state === 'finished' && open === 0 ? now : undefined
        },
        { timeoutMs },
      ) as Promise<Replay>,
  }
}

async function publish(url: string, { count }: Scale): Promise<void> {
  await using producer = await start({
    database: url,
    topics: { [counted.topic]: { partitions: 3 } },
    queues: false,
    upkeep: false,
  })
  for (let at = 0; at < count; at += PUBLISHED) {
    const some = Math.min(PUBLISHED, count - at)
    await producer.publishMany(
      counted,
      Array.from({ length: some }, (_, n) => ({ n: at + n })),
    )
  }
}

/** Makes a dead letter of every record, as code that can handle none does. */
async function setAllAside(pool: pg.Pool): Promise<void> {
  await pool.query(
    `insert into millrace.dead_letter (application, handler, stage, topic, topic_id, partition, "offset", generation,
       record_timestamp, key, value, headers, error, attempts, fingerprint)
     select 'app', $1, 'apply', $2, topic_id, partition, "offset", 0, timestamp, key, value, headers,
       '{"class":"Error","message":"cannot be handled"}', 1, 'feedfeedfeedfeed'
     from millrace.record order by (convert_from(value, 'utf8')::json ->> 'n')::int`,
    [STORE, counted.topic],
  )
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

/** The numbers of which jobs were made. */
export async function madeNumbers(pool: pg.Pool): Promise<number[]> {
  const { rows } = await pool.query<{ n: number }>(
    `select (args ->> 'n')::int as n from millrace.job`,
  )
  return rows.map(({ n }) => n)
}

/** Everything once, in order per key, and what is bad is a dead letter, as it was before or of the replay. */
export async function assertReplayed(
  { pool, subject, scale }: ReplayBed,
  replay: Replay,
): Promise<void> {
  const done = await (subject === 'made-jobs' ? madeNumbers(pool) : doneNumbers(pool))
  const { bad } = assertOnce(done, scale)
  const { count } = scale
  // Whether jobs succeed, and when, is seen in their queue.
  const failed = subject === 'jobs' ? 0 : bad.length
  assert.deepEqual(
    [replay.passed, replay.failed, replay.skipped],
    [BigInt(count - failed), BigInt(failed), 0n],
  )
  const all = await letters(pool)
  if (subject === 'records') {
    const generation = -Number(replay.id)
    const added = all.slice(count)
    assert.deepEqual(
      added,
      bad.map(() => ({ state: 'open', replays: 0, generation })),
    )
    assert.ok(all.slice(0, count).every(({ state, replays }) => state === 'open' && replays === 0))
  } else {
    const left = all.filter(({ state }) => state !== 'replayed')
    assert.deepEqual(
      left,
      bad.map(() => ({ state: 'open', replays: 1, generation: 0 })),
    )
    const { rows: outcomes } = await pool.query<{ n: number }>(
      'select count(*)::int as n from millrace.replay_outcome where replay_id = $1',
      [replay.id],
    )
    assert.equal(outcomes[0]?.n, count)
  }
  if (subject === 'letters' || subject === 'records') assertInOrder(done)
}

/** Asserts that all that can be handled was, once; gives what cannot. */
export function assertOnce(done: readonly number[], scale: Scale): { readonly bad: number[] } {
  const all = Array.from({ length: scale.count }, (_, n) => n)
  assert.deepEqual(
    done.toSorted((a, b) => a - b),
    all.filter((n) => !isBad(n, scale)),
  )
  return { bad: all.filter((n) => isBad(n, scale)) }
}

/** Asserts that none has overtaken another of its key. */
function assertInOrder(done: readonly number[]): void {
  for (let key = 0; key < 7; key += 1) {
    const ofKey = done.filter((n) => n % 7 === key)
    assert.deepEqual(
      ofKey,
      ofKey.toSorted((a, b) => a - b),
    )
  }
}
