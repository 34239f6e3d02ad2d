import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import { start } from '../../src/app/start.ts'
import { getReplay, orderReplay } from '../../src/replay/order.ts'
import type { Replay } from '../../src/replay/replay.ts'
import {
  judgeBrake,
  judgeBytes,
  judgeDeadLetters,
  judgeKill,
  judgeLedger,
  judgeReplay,
  type Expected,
} from './judge.ts'
import { PARTITIONS, sale, saleOf } from './sales.ts'
import type { SalesWorker } from './worker.ts'

/** What a mass failure is made of. */
export interface MassFailureOptions extends Expected {
  /** An empty database of its own. */
  readonly databaseUrl: string
  readonly note: (text: string) => void
}

/** What was seen of it, and found to be right. Rates are records a second. */
export interface MassFailure {
  /** The same records by code that can read them: what dead letters and replay are to be compared with. */
  readonly handledPerSecond: number
  readonly deadLetteredPerSecond: number
  /** From the order to the end, with the process killed in the middle. */
  readonly replayedPerSecond: number
}

/**
 * A deploy that cannot read version 2 meets `count` records over six partitions. With the brake on it is stopped before the
 * first dead letter; without it all become dead letters. The fixed deploy tries them in a dry run, then replays them, and is
 * killed with SIGKILL in the middle of that; another process goes on.
 * @throws AssertionError when anything of it was not as it must be.
 */
export async function massFailure(options: MassFailureOptions): Promise<MassFailure> {
  const { databaseUrl, count, bad, note } = options
  await using operator = await connectOperator({ database: databaseUrl, user: 'bench' })
  await publish(options)
  await operator.pool.query(
    'create table ledger (place bigserial, app text, n int, household text, cents int)',
  )
  const healthy = await timed(count, async () => {
    await using _ = worker({ databaseUrl, application: 'healthy', code: 'mended' })
    await until(operator, `select count(*)::int as n from ledger`, count - bad.size)
  })
  note(`handled ${Math.round(healthy)}/s by code that can read them`)

  {
    await using _ = worker({ databaseUrl, application: 'braked', code: 'braked' })
    await until(operator, STOPPED, PARTITIONS)
  }
  await judgeBrake(operator.pool, 'braked')
  note(`stopped in ${PARTITIONS} partitions before the first dead letter where the brake is on`)

  const dead = await timed(count, async () => {
    await using _ = worker({ databaseUrl, application: 'billing', code: 'broken' })
    await until(operator, DEAD, count)
  })
  note(`dead-lettered ${Math.round(dead)}/s`)
  await judgeBytes(operator.pool, 'billing', count)

  const selection = { application: 'billing' }
  let first = worker({ databaseUrl, application: 'billing', code: 'mended' })
  await using _ = { [Symbol.asyncDispose]: () => first[Symbol.asyncDispose]() }
  const rehearsed = await orderReplay(operator, { selection, dryRun: true })
  const dryRun = await ended(operator, rehearsed.id)
  judgeReplay(dryRun, options)
  note(`a dry run says: ${dryRun.passed} would pass, ${dryRun.failed} would fail`)

  let atKill: Replay | undefined
  let replay: Replay | undefined
  const replayed = await timed(count, async () => {
    const { id } = await orderReplay(operator, { selection })
    await until(
      operator,
      `select passed::int as n from millrace.replay where id = ${id}`,
      count / 3,
    )
    await first[Symbol.asyncDispose]()
    atKill = await getReplay(operator.pool, id)
    first = worker({ databaseUrl, application: 'billing', code: 'mended' })
    replay = await ended(operator, id)
  })
  if (replay === undefined || atKill === undefined) throw new Error('the replay has not ended')
  judgeKill(atKill, replay, options)
  judgeReplay(replay, options)
  await judgeDeadLetters(operator.pool, 'billing', options)
  await judgeLedger(operator.pool, 'billing', options)
  note(`replayed ${Math.round(replayed)}/s, killed at ${atKill.passed} of ${replay.passed}`)
  return {
    handledPerSecond: healthy,
    deadLetteredPerSecond: dead,
    replayedPerSecond: replayed,
  }
}

const STOPPED = `select count(*)::int as n from millrace.position where application = 'braked' and halted is not null`
const DEAD = `select coalesce(sum(dead_lettered), 0)::int as n from millrace.batch where application = 'billing'`
const PUBLISHED = 5_000

async function publish({ databaseUrl, count, bad }: MassFailureOptions): Promise<void> {
  await using millrace = await start({
    database: databaseUrl,
    topics: { [sale.topic]: { partitions: PARTITIONS } },
    queues: false,
    upkeep: false,
  })
  for (let at = 0; at < count; at += PUBLISHED) {
    const numbers = Array.from({ length: Math.min(PUBLISHED, count - at) }, (_, i) => at + i)
    await millrace.publishMany(
      sale,
      numbers.map((n) => saleOf(n, bad)),
    )
  }
}

/** A process that is killed when it is disposed of. */
function worker(told: SalesWorker): AsyncDisposable {
  const file = new URL('./worker.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [file, JSON.stringify(told)], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    stdio: ['pipe', 'inherit', 'inherit'],
  })
  const exited = once(child, 'exit')
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

async function timed(count: number, action: () => Promise<void>): Promise<number> {
  const began = performance.now()
  await action()
  return (count * 1_000) / (performance.now() - began)
}

async function until(operator: Operator, question: string, least: number): Promise<void> {
  for (;;) {
    const { rows } = await operator.pool.query<{ n: number }>(question)
    if ((rows[0]?.n ?? 0) >= least) return
    await sleep(50)
  }
}

async function ended(operator: Operator, id: bigint): Promise<Replay> {
  for (;;) {
    const replay = await getReplay(operator.pool, id)
    if (replay.state !== 'running') return replay
    await sleep(50)
  }
}
