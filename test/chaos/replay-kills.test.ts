import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import type pg from 'pg'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import { start } from '../../src/app/start.ts'
import { changeReplay, getReplay, orderReplay } from '../../src/replay/order.ts'
import type { Replay } from '../../src/replay/replay.ts'
import { cleanup } from '../support/cleanup.ts'
import { testDatabase } from '../support/database.ts'
import { spawnNode, type Scenario } from '../support/process.ts'
import { eventually } from '../support/wait.ts'
import { REPLAY_FAILPOINTS, type Trap } from './failpoints.ts'
import { counted, type ReplayWorkerConfig } from './replay-records.ts'

const COUNT = 300
/** Thirteen of every hundred cannot be handled by any code. */
const BAD = [13, 113, 213]

interface Bed {
  readonly pool: pg.Pool
  readonly operator: Operator
  readonly worker: (told: Omit<ReplayWorkerConfig, 'databaseUrl'>) => Promise<Scenario>
  readonly ended: (id: bigint) => Promise<Replay>
}

/** As many dead letters as there are records, made by code that could handle none. */
async function bed(t: TestContext): Promise<Bed> {
  const { url, pool } = await testDatabase(t)
  await pool.query('create table done (n int, place bigserial)')
  const operator = await connectOperator({ database: url, user: 'ana@test' })
  cleanup(t, () => operator.close())
  const worker: Bed['worker'] = async (told) => {
    const config: ReplayWorkerConfig = { databaseUrl: url, ...told }
    const process = spawnNode(t, new URL('./replay-worker.ts', import.meta.url), {
      env: { CHAOS_WORKER: JSON.stringify(config) },
    })
    await process.waitFor('ready', { timeoutMs: 60_000 })
    return process
  }
  const broken = await worker({ mended: false })
  const producer = await start({ database: url, queues: false, upkeep: false })
  await producer.publishMany(
    counted,
    Array.from({ length: COUNT }, (_, n) => ({ n })),
  )
  await producer.stop()
  await eventually(async () => (await letters(pool)).length === COUNT)
  broken.kill('SIGKILL')
  await broken.exited
  const ended = (id: bigint): Promise<Replay> =>
    eventually(async () => {
      const now = await getReplay(operator.pool, id)
      return now.state === 'finished' ? now : undefined
    }) as Promise<Replay>
  return { pool, operator, worker, ended }
}

const letters = async (pool: pg.Pool): Promise<{ state: string; replays: number }[]> =>
  (
    await pool.query<{ state: string; replays: number }>(
      'select state, replays from millrace.dead_letter order by id',
    )
  ).rows

/** Everything once, in order per key, and what is bad is where it was, with one more replay. */
async function assertReplayed({ pool }: Bed, replay: Replay): Promise<void> {
  const { rows } = await pool.query<{ n: number }>('select n from done order by place')
  const done = rows.map(({ n }) => n)
  assert.deepEqual(
    done.toSorted((a, b) => a - b),
    Array.from({ length: COUNT }, (_, n) => n).filter((n) => !BAD.includes(n)),
  )
  for (let key = 0; key < 7; key += 1) {
    const ofKey = done.filter((n) => n % 7 === key)
    assert.deepEqual(
      ofKey,
      ofKey.toSorted((a, b) => a - b),
    )
  }
  assert.deepEqual(
    [replay.passed, replay.failed, replay.skipped],
    [BigInt(COUNT - BAD.length), BigInt(BAD.length), 0n],
  )
  const left = (await letters(pool)).filter(({ state }) => state !== 'replayed')
  assert.deepEqual(
    left,
    BAD.map(() => ({ state: 'open', replays: 1 })),
  )
  const { rows: outcomes } = await pool.query<{ n: number }>(
    'select count(*)::int as n from millrace.replay_outcome where replay_id = $1',
    [replay.id],
  )
  assert.equal(outcomes[0]?.n, COUNT)
}

test('handles every dead letter once when the process that replays them is killed', {
  concurrency: 3,
}, async (t) => {
  await Promise.all(
    REPLAY_FAILPOINTS.map((name) =>
      t.test(`at ${name}`, async (inner) => {
        const it = await bed(inner)
        const trap: Trap = { name, count: 2, signal: 'SIGKILL' }
        const first = await it.worker({ mended: true, trap })
        const { id } = await orderReplay(it.operator, { selection: { application: 'app' } })
        await first.waitFor('trap', { timeoutMs: 60_000 })
        await first.exited
        await it.worker({ mended: true })
        await assertReplayed(it, await it.ended(id))
      }),
    ),
  )
})

test('handles every dead letter once when the process that replays them is stopped, and goes on after another took over', async (t) => {
  const it = await bed(t)
  const trap: Trap = { name: 'replay:before-outcomes', count: 2, signal: 'SIGSTOP' }
  const first = await it.worker({ mended: true, trap })
  const { id } = await orderReplay(it.operator, { selection: { application: 'app' } })
  await first.waitFor('trap', { timeoutMs: 60_000 })
  await it.worker({ mended: true })
  const replay = await it.ended(id)
  first.kill('SIGCONT')
  await eventually(() => /belongs to another process now/.test(first.output))
  await assertReplayed(it, replay)
})

test('writes nothing when a dry run is killed', async (t) => {
  const it = await bed(t)
  const trap: Trap = { name: 'replay:before-commit', count: 2, signal: 'SIGKILL' }
  const first = await it.worker({ mended: true, trap })
  const selection = { application: 'app' }
  const { id } = await orderReplay(it.operator, { selection, dryRun: true })
  await first.waitFor('trap', { timeoutMs: 60_000 })
  await first.exited
  await it.worker({ mended: true })
  const { passed, failed } = await it.ended(id)
  assert.deepEqual([passed, failed], [BigInt(COUNT - BAD.length), BigInt(BAD.length)])
  const { rows } = await it.pool.query('select from done')
  assert.equal(rows.length, 0)
  assert.ok(
    (await letters(it.pool)).every(({ state, replays }) => state === 'open' && replays === 0),
  )
})

test('commits nothing of a chunk that an operator pauses in the middle', async (t) => {
  const it = await bed(t)
  const trap: Trap = { name: 'replay:before-outcomes', count: 2, signal: 'block', blockMs: 400 }
  const first = await it.worker({ mended: true, trap })
  const { id } = await orderReplay(it.operator, { selection: { application: 'app' } })
  await first.waitFor('trap', { timeoutMs: 60_000 })
  await changeReplay(it.operator, id, 'pause')
  const { passed, failed } = await getReplay(it.operator.pool, id)
  await eventually(() => /an operator holds it/.test(first.output))
  const after = await getReplay(it.operator.pool, id)
  assert.deepEqual([after.passed, after.failed], [passed, failed])
  await changeReplay(it.operator, id, 'resume')
  await assertReplayed(it, await it.ended(id))
})
