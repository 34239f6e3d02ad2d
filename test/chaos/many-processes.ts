import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../../src/core/random.ts'
import { placeOf, type Dumps } from '../support/checker/dumps.ts'
import { testDatabase } from '../support/database.ts'
import { eventually } from '../support/wait.ts'
import { ChaosRun, seedOf, type ChaosWorker } from './chaos-run.ts'
import { underLoad } from './load.ts'
import { count, SILENT, type ScenarioOptions } from './scenarios.ts'

// Scenarios in which several processes share the work, for any log.

/** Kills a worker and waits for its end. */
export async function kill(run: ChaosRun, victim: ChaosWorker): Promise<void> {
  const at = Date.now()
  victim.kill('SIGKILL')
  const { signal } = await victim.exited
  run.fault('SIGKILL', victim.name, at, { seen: signal === 'SIGKILL', text: `ended by ${signal}` })
}

/** The same records are handled by one process alone, and by five that are killed at random: the results must be equal. */
export async function fiveOrOne(
  t: TestContext,
  { records, kills, ...options }: ScenarioOptions & { records: number; kills: number },
): Promise<void> {
  const seed = seedOf(t)
  const [alone, together] = await Promise.all([
    oneProcess(t, { records, seed, ...options }),
    fiveProcesses(t, { records, kills, seed, ...options }),
  ])
  assert.deepEqual(resultOf(together), resultOf(alone))
}

interface Load extends ScenarioOptions {
  readonly records: number
  readonly seed: number
}

async function oneProcess(t: TestContext, { records, ...options }: Load): Promise<Dumps> {
  const run = await ChaosRun.begin(t, {
    name: 'one process',
    database: await testDatabase(t),
    faultless: true,
    ...options,
  })
  run.worker({ concurrency: 8 })
  await run.producer.produce(records)
  await run.quiet(90_000)
  return run.pass()
}

async function fiveProcesses(
  t: TestContext,
  { records, kills, ...options }: Load & { readonly kills: number },
): Promise<Dumps> {
  const run = await ChaosRun.begin(t, {
    name: 'five processes',
    database: await testDatabase(t),
    workers: { takeOverMs: 1_000 },
    ...options,
  })
  const random = seededRandom(run.seed + 1)
  const workers: ChaosWorker[] = Array.from({ length: 5 }, () => run.worker())
  const produced = run.producer.produce(records)
  for (let killed = 0; killed < kills; killed += 1) {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(300 + random.next() * 700)
    const victim = workers.splice(Math.floor(random.next() * workers.length), 1)[0] as ChaosWorker
    await kill(run, victim)
    workers.push(run.worker())
  }
  await produced
  await run.quiet(90_000)
  return run.pass()
}

/** What a run came to, without what may differ: ids of jobs, attempts, who did it and when. */
function resultOf(dumps: Dumps): Readonly<Record<string, readonly string[]>> {
  const events = new Map(dumps.records.map((record) => [placeOf(record), record.id]))
  const ledger = dumps.effects.filter(({ source }) => source === 'record')
  const byKey = Map.groupBy(ledger, ({ key }) => key)
  return {
    records: dumps.records.map(({ id, key }) => `${id} ${key}`).sort(),
    effects: dumps.effects.map(({ name, eventId }) => `${name} ${eventId}`).sort(),
    jobs: dumps.jobs
      .map(({ kind, state, origin }) => `${kind} ${origin && events.get(placeOf(origin))} ${state}`)
      .sort(),
    deadLetters: dumps.deadLetters
      .map((letter) => `${letter.handler} ${letter.stage} ${events.get(placeOf(letter))}`)
      .sort(),
    order: [...byKey]
      .map(([key, effects]) => `${key}: ${effects.map(({ eventId }) => eventId).join()}`)
      .sort(),
  }
}

/** All workers die in the middle of their jobs; others finish. */
export async function allDieAtOnce(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'all workers die at once',
    database: await testDatabase(t),
    workers: { batchRecords: 10 },
    ...options,
  })
  const random = seededRandom(run.seed)
  await run.producer.produce(240)
  const workers = [1, 2, 3].map((n) => run.worker({ name: `first-${n}` }))
  await Promise.all(workers.map((worker) => worker.ready()))
  const enough = 20 + Math.floor(random.next() * 100)
  const jobs = async (state: string): Promise<number> =>
    count(
      run,
      `select count(*)::int as n from (select state from millrace.job
         union all select state from millrace.job_history) j where state = $1`,
      [state],
    )
  await eventually(async () => (await jobs('completed')) >= enough)
  const at = Date.now()
  for (const worker of workers) worker.kill('SIGKILL')
  const exits = await Promise.all(workers.map((worker) => worker.exited))
  const held = await jobs('executing')
  run.fault('SIGKILL', 'all workers', at, {
    seen: held > 0 && exits.every(({ signal }) => signal === 'SIGKILL'),
    text: `they held ${held} jobs and ended by ${exits.map(({ signal }) => signal).join()}`,
  })
  for (const n of [1, 2, 3]) run.worker({ name: `second-${n}` })
  await run.quiet(40_000)
  return run
}

/** Processes join, leave in good order and are killed, twenty times or more, until partitions have changed hands as often. */
export async function handOvers(t: TestContext, options: ScenarioOptions = {}): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'twenty hand-overs',
    database: await testDatabase(t),
    workers: { batchRecords: 10, takeOverMs: 1_000 },
    ...options,
  })
  const random = seededRandom(run.seed + 4)
  const workers: ChaosWorker[] = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  const end = underLoad(run)
  const handedOver = (): Promise<number> => count(run, HAND_OVERS_SQL)
  for (let turn = 0; turn < 20 || (turn < 60 && (await handedOver()) < 20); turn += 1) {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(200 + random.next() * 400)
    const draw = random.next()
    if (workers.length < 2 || (draw < 0.5 && workers.length < 4)) {
      const at = Date.now()
      const joined = run.worker()
      await joined.ready()
      workers.push(joined)
      const there = await count(run, `${LIVE_SQL} and name = $1`, [joined.name])
      run.fault('join', joined.name, at, {
        seen: there === 1,
        text: `${there} process of that name takes part`,
      })
      continue
    }
    const victim = workers.splice(Math.floor(random.next() * workers.length), 1)[0] as ChaosWorker
    if (draw < 0.75) {
      await kill(run, victim)
      continue
    }
    const at = Date.now()
    victim.kill('SIGTERM')
    const { code } = await victim.exited
    const text = `ended with code ${code}`
    run.fault('SIGTERM', victim.name, at, { seen: code === 0, text })
  }
  await end()
  const at = Date.now()
  const taken = await handedOver()
  run.fault('hand-over', 'all partitions', at, {
    seen: taken >= 20,
    text: `partitions went from one process to another ${taken} times`,
  })
  if (workers.length === 0) run.worker()
  await run.quiet(60_000)
  return run
}

/** Five processes share two partitions; the two that read them are killed, and idle ones take over. */
export async function moreProcessesThanPartitions(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'five processes on two partitions',
    database: await testDatabase(t),
    partitions: 2,
    workers: { batchRecords: 10, takeOverMs: 1_000 },
    ...options,
  })
  const workers = Array.from({ length: 5 }, () => run.worker())
  await Promise.all(workers.map((worker) => worker.ready()))
  await run.producer.produce(60)
  const owners = async (): Promise<string[]> => {
    const { rows } = await run.pool.query<{ name: string }>(
      `select o.name from millrace.position p join millrace.process o on o.id = p.owner
       where o.expires_at > clock_timestamp()`,
    )
    return rows.map(({ name }) => name)
  }
  // By then all five know of each other, and who has what does not change any more.
  await eventually(async () => (await count(run, LIVE_SQL)) === 5 && (await owners()).length === 2)
  const reading = await owners()
  const at = Date.now()
  for (const worker of workers.filter(({ name }) => reading.includes(name))) await kill(run, worker)
  const load = run.producer.produce(60)
  const next = await eventually(async () => {
    const now = await owners()
    return now.length === 2 && now.every((name) => !reading.includes(name)) && now
  })
  await load
  run.fault('SIGKILL', 'all who read', at, {
    seen: reading.length === 2,
    text: `${reading.join()} read, then ${String(next)}`,
  })
  await run.quiet(40_000)
  return run
}

const HOLDS_STILL =
  'no heartbeat has got through for too long: this process holds still until one does'

/** Partitions that one process had and another has got since, given back or taken over. */
const HAND_OVERS_SQL = `select count(*)::int as n from (
    select owner, lag(owner) over (partition by application, topic_id, partition order by seq) as before
    from observer.position_change where owner is not null
  ) took where before <> owner`

const LIVE_SQL = `select count(*)::int as n from millrace.process
  where expires_at > clock_timestamp() and cardinality(applications) > 0`

/**
 * The event loop of a process that reads stands still for longer than the take-over, in the middle of a batch: its peer
 * goes on with all partitions meanwhile, and the process learns that it was replaced.
 */
export async function blockedLoop(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'a blocked event loop',
    database: await testDatabase(t),
    workers: { batchRecords: 10 },
    ...options,
  })
  const blockMs = 6_000
  const peer = run.worker({ name: 'peer' })
  const blocked = run.worker({
    name: 'blocked',
    trap: { name: 'handler:applied', count: 12, signal: 'block', blockMs },
  })
  await Promise.all([peer.ready(), blocked.ready()])
  const end = underLoad(run)
  const at = await blocked.trapped()
  const moves = async (): Promise<number> =>
    count(
      run,
      `select count(*)::int as n from observer.position_change where actor = 'peer' and owner is not null`,
    )
  const before = await moves()
  await eventually(async () => (await moves()) > before + 4)
  const during = Date.now() - at
  await eventually(() => blocked.logged(SILENT) > 0)
  await end()
  const fenced = blocked.logged(HOLDS_STILL)
  run.fault('blocked', 'the event loop', at, {
    seen: during < blockMs && fenced > 0,
    text: `the peer went on within ${during} ms of ${blockMs}; then it held still (${fenced}) and learned that it was replaced`,
  })
  await run.quiet(40_000)
  return run
}
