import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import { start } from '../../src/app/start.ts'
import { getReplay, orderReplay } from '../../src/replay/order.ts'
import type { Replay } from '../../src/replay/replay.ts'
import { PARTITIONS, sale, saleOf } from './sales.ts'
import type { SalesWorker } from './worker.ts'

/** What a mass failure is made of. */
export interface MassFailureOptions {
  /** An empty database of its own. */
  readonly databaseUrl: string
  /** How many records meet the code that cannot read them. */
  readonly count: number
  /** Numbers of records that no code accepts. */
  readonly bad: ReadonlySet<number>
  readonly note: (text: string) => void
}

/** What was seen of it. Rates are records a second. */
export interface MassFailure {
  /** The same records by code that can read them: what dead letters and replay are to be compared with. */
  readonly handledPerSecond: number
  readonly deadLetteredPerSecond: number
  /** From the order to the end, with the process killed in the middle. */
  readonly replayedPerSecond: number
  readonly dryRun: Replay
  readonly replay: Replay
  /** Dead letters were in so many groups. */
  readonly groups: number
  /** How often the process was killed while it replayed. */
  readonly kills: number
}

/**
 * A deploy that cannot read version 2 meets `count` records over six partitions. All become dead letters; the fixed deploy
 * tries them in a dry run, then replays them, and is killed with SIGKILL in the middle of that; another process goes on.
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

  const dead = await timed(count, async () => {
    await using _ = worker({ databaseUrl, application: 'billing', code: 'broken' })
    await until(operator, DEAD, count)
  })
  note(`dead-lettered ${Math.round(dead)}/s`)
  const { rows } = await operator.pool.query<{ n: number }>(
    `select count(distinct fingerprint)::int as n from millrace.dead_letter where application = 'billing'`,
  )

  const selection = { application: 'billing' }
  let first = worker({ databaseUrl, application: 'billing', code: 'mended' })
  const rehearsed = await orderReplay(operator, { selection, dryRun: true })
  const dryRun = await ended(operator, rehearsed.id)
  note(`a dry run says: ${dryRun.passed} would pass, ${dryRun.failed} would fail`)

  let kills = 0
  let replay: Replay | undefined
  const replayed = await timed(count, async () => {
    const { id } = await orderReplay(operator, { selection })
    await until(
      operator,
      `select passed::int as n from millrace.replay where id = ${id}`,
      count / 3,
    )
    await first[Symbol.asyncDispose]()
    kills += 1
    first = worker({ databaseUrl, application: 'billing', code: 'mended' })
    replay = await ended(operator, id)
  })
  await first[Symbol.asyncDispose]()
  note(`replayed ${Math.round(replayed)}/s, killed ${kills} times`)
  if (replay === undefined) throw new Error('the replay has not ended')
  return {
    handledPerSecond: healthy,
    deadLetteredPerSecond: dead,
    replayedPerSecond: replayed,
    dryRun,
    replay,
    groups: rows[0]?.n ?? 0,
    kills,
  }
}

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
