import type { TestContext } from 'node:test'
import type { KafkaOptions } from '../../src/kafka/kafka.ts'
import { testDatabase } from '../support/database.ts'
import { eventually as patiently } from '../support/wait.ts'
import { CALL, type RECORD } from './application.ts'
import { ChaosRun } from './chaos-run.ts'
import type { Trap } from './failpoints.ts'
import type { ProduceOptions } from './producer.ts'

/** On a busy machine everything takes its time. */
const ROLLED_BACK = 'a batch was rolled back: the partition was given up while it was under way'
const PATIENCE = { timeoutMs: 60_000 } as const

async function eventually(check: () => boolean | Promise<boolean>): Promise<void> {
  await patiently(check, PATIENCE)
}

// Scenarios that run on the sources as they are, where nothing may be wrong, and on copies with a planted bug, where the
// checker must find it. Each goes on to its end whatever is wrong, and leaves the judgement to the checker.

/** Where a scenario runs. */
export interface ScenarioOptions {
  /** Top folder of the sources that the workers run. Default: this repository. */
  readonly root?: string
  /** The log is in Kafka. Default: the table log. */
  readonly log?: KafkaOptions
  /** Handlers publish too; on Kafka, all that is published goes there through the outbox. Default `false`. */
  readonly outbox?: boolean
  /** Handlers handle an event once. Default `false`. */
  readonly once?: boolean
  /** Copies of a record may be in other partitions than that of its key. */
  readonly relocates?: boolean
}

const LOST = 'the partition belongs to another process now, or was moved'
export const SILENT =
  'this process was silent for too long and has been replaced; it goes on under a new id'
const TRIED_AGAIN = 'a batch failed and is tried again'
/** Rounds of a scenario in which what it is about need not happen in each. */
const MOST_ROUNDS = 6

/** A worker is killed at a place; another one finishes. */
export async function killed(
  t: TestContext,
  traps: readonly Trap[],
  {
    records = 80,
    produced,
    ...options
  }: ScenarioOptions & { readonly records?: number; readonly produced?: ProduceOptions } = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: `killed at ${traps.at(-1)?.name}`,
    database: await testDatabase(t),
    workers: { batchRecords: 10, takeOverMs: 1_000 },
    ...options,
  })
  await run.producer.produce(records, produced)
  for (const trap of traps) {
    const worker = run.worker({ name: `dies-at-${trap.name.replace(':', '-')}`, trap })
    const at = await worker.trapped()
    const { signal } = await worker.exited
    const last = worker.events.at(-1)
    // A worker that dies before it has anything in its hands shows nothing.
    const held = await count(
      run,
      `select (select count(*) from millrace.position where owner is not null)::int
         + (select count(*) from millrace.job)::int as n`,
    )
    run.fault('SIGKILL', `${worker.name} at ${trap.name}`, at, {
      seen:
        signal === 'SIGKILL' && last?.event === 'trap' && last['name'] === trap.name && held > 0,
      text: `ended by ${signal}; last said ${JSON.stringify(last)}; ${held} partitions and jobs were in work`,
    })
  }
  await run.worker({ name: 'survivor' }).ready()
  await run.producer.produce(20, produced)
  await run.quiet(40_000)
  return run
}

/**
 * Events are appended twice, half of them into two partitions, and handlers handle an event once; workers are killed, each
 * at one of the places, and another one finishes.
 */
export async function appendedTwice(
  t: TestContext,
  traps: readonly Trap[],
  options: ScenarioOptions & { readonly records?: number } = {},
): Promise<ChaosRun> {
  const run = await killed(t, traps, {
    ...options,
    once: true,
    relocates: true,
    produced: {
      copies: 2,
      perTransaction: 4,
      partition: (n, time) => (n % 2 === 0 ? n % 4 : (n + time) % 4),
    },
  })
  const duplicates = await count(
    run,
    `select coalesce(sum((filtered_by ->> 'duplicate')::int), 0)::int as n from millrace.batch`,
  )
  run.fault('appended twice', run.topic, Date.now(), {
    seen: duplicates > 0,
    text: `${duplicates} records were filtered as duplicates`,
  })
  return run
}

/**
 * A worker is stopped in the middle of a batch, past the take-over; a peer does its work; then it goes on. By then the
 * server has ended its transaction, and the process learns that it has been replaced.
 */
export async function stoppedConsumer(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'a consumer stopped past the take-over',
    database: await testDatabase(t),
    ...options,
  })
  await run.producer.produce(120)
  const zombie = run.worker({
    name: 'zombie',
    trap: { name: 'batch:before-position', count: 2, signal: 'SIGSTOP' },
  })
  const at = await zombie.trapped()
  await run.worker({ name: 'peer' }).ready()
  await eventually(() => allReadBy(run, 'peer'))
  zombie.kill('SIGCONT')
  await eventually(() => zombie.logged(SILENT) > 0)
  await run.producer.produce(80)
  // It takes part again, under its new id.
  await eventually(() => ownsSome(run, 'zombie'))
  await run.producer.produce(40)
  const refusals = zombie.logged(LOST) + zombie.logged(TRIED_AGAIN) + zombie.logged(ROLLED_BACK)
  run.fault('SIGSTOP', 'zombie at batch:before-position', at, {
    seen: refusals > 0,
    text: `its batch was refused ${refusals} times`,
  })
  await run.quiet(40_000)
  return run
}

/**
 * A worker is stopped in the middle of a batch and taken for dead by the database while its transaction is open, as when
 * the database's clock jumps. A peer commits the same records; then the worker goes on to its compare-and-set. When its
 * look at who owns what, once a second, comes before that, it gives the batch up by itself: then another one is stopped.
 */
export async function fencedConsumer(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'a consumer fenced by the compare-and-set',
    database: await testDatabase(t),
    partitions: 1,
    workers: { takeOverMs: 60_000, heartbeatMs: 20_000, transactionTimeoutMs: 60_000 },
    ...options,
  })
  let at = 0
  let refusals = 0
  let isOpen = false
  let rounds = 0
  while (refusals === 0 && !isOpen && rounds < MOST_ROUNDS) {
    rounds += 1
    const [zombieName, peerName] = [`zombie-${rounds}`, `peer-${rounds}`]
    await run.producer.produce(60, { behaviour: () => 'plain' })
    const zombie = run.worker({
      name: zombieName,
      trap: { name: 'batch:before-position', count: 2, signal: 'SIGSTOP' },
    })
    at = await zombie.trapped()
    await run.pool.query(
      `update millrace.process set expires_at = clock_timestamp() - interval '1 second' where name = $1`,
      [zombieName],
    )
    const peer = run.worker({ name: peerName })
    await peer.ready()
    await eventually(() => allReadBy(run, peerName))
    zombie.kill('SIGCONT')
    // Refused, or given up; or, when the fence has a hole, its batch is there.
    await eventually(async () => {
      isOpen = await movedAfter(run, peerName, zombieName)
      return isOpen || zombie.logged(LOST) + zombie.logged(ROLLED_BACK) > 0
    })
    refusals = zombie.logged(LOST)
    zombie.kill('SIGKILL')
    await zombie.exited
    peer.kill('SIGTERM')
    await peer.exited
  }
  run.fault('expired', 'a zombie at batch:before-position', at, {
    seen: refusals > 0,
    text: `its compare-and-set was refused ${refusals} times, in round ${rounds}`,
  })
  await run.worker().ready()
  await run.producer.produce(20)
  await run.quiet(40_000)
  return run
}

/**
 * A worker is stopped inside a job's handler, past the take-over; the job is taken back and executed elsewhere, where the
 * outside world keeps it waiting; then the first one goes on to its end.
 */
export async function stoppedJob(
  t: TestContext,
  kind: typeof CALL | typeof RECORD,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: `a job of kind ${kind} stopped past the take-over`,
    database: await testDatabase(t),
    partitions: 1,
    ...options,
  })
  await run.producer.produce(1, { behaviour: () => 'plain' })
  const name = kind === CALL ? 'handler:called' : 'handler:before-transaction'
  const zombie = run.worker({ name: 'zombie', trap: { name, count: 1, signal: 'SIGSTOP' } })
  const at = await zombie.trapped()
  run.effects.hold(kind)
  await run.worker({ name: 'peer' }).ready()
  await eventually(async () => run.effects.held > 0 && (await isExecutedBy(run, kind, 'peer')))
  zombie.kill('SIGCONT')
  const lates = async (): Promise<number> =>
    count(run, `select count(*)::int as n from millrace.job_attempt where outcome = 'late'`)
  // Noted as late; or, when the fence has a hole, the job is gone from under the peer's hands.
  await eventually(async () => (await lates()) > 0 || !(await isExecutedBy(run, kind, 'peer')))
  const late = await lates()
  run.fault('SIGSTOP', `zombie at ${name}`, at, {
    seen: late > 0,
    text: `${late} results were noted as late`,
  })
  run.effects.release()
  await run.producer.produce(20)
  await run.quiet(40_000)
  return run
}

/**
 * A worker is stopped inside the handler of a job that has no crash left, past the take-over; the job is discarded; then
 * the worker goes on to its end.
 */
export async function stoppedAndDiscarded(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'a job that is discarded while its process is stopped',
    database: await testDatabase(t),
    partitions: 1,
    ...options,
  })
  await run.producer.produce(1, { behaviour: () => 'plain' })
  // Makes suspects, whose start is written down: only those are charged with a crash.
  const first = run.worker({
    name: 'first',
    trap: { name: 'job:started', count: 1, signal: 'SIGKILL' },
  })
  await first.trapped()
  await run.pool.query('update millrace.job set max_crashes = 1')
  const zombie = run.worker({
    name: 'zombie',
    trap: { name: 'handler:called', count: 1, signal: 'SIGSTOP' },
  })
  const at = await zombie.trapped()
  await run.worker({ name: 'peer' }).ready()
  await eventually(
    async () =>
      (await count(
        run,
        `select count(*)::int as n from millrace.job_history where kind = $1 and state = 'discarded'`,
        [CALL],
      )) > 0,
  )
  zombie.kill('SIGCONT')
  const lates = async (): Promise<number> =>
    count(run, `select count(*)::int as n from millrace.job_attempt where outcome = 'late'`)
  await eventually(async () => (await lates()) > 0).catch(() => {
    // The fault's entry says that it was not seen.
  })
  run.fault('SIGSTOP', 'zombie at handler:called', at, {
    seen: (await lates()) > 0,
    text: `${await lates()} results were noted as late`,
  })
  await run.producer.produce(20)
  await run.quiet(40_000)
  return run
}

/** Workers share out long jobs, and the process that does the upkeep is replaced in the middle. */
export async function upkeepReplaced(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'the upkeep changes hands while jobs run',
    database: await testDatabase(t),
    ...options,
  })
  const leader = run.worker({ name: 'leader' })
  await leader.ready()
  const peer = run.worker({ name: 'peer' })
  await peer.ready()
  run.effects.hold()
  await run.producer.produce(40, { behaviour: () => 'plain' })
  await eventually(() => run.effects.held >= 6)
  const at = Date.now()
  leader.kill('SIGKILL')
  const { signal } = await leader.exited
  await run.worker({ name: 'third' }).ready()
  // The new leader has looked at everybody's jobs at least once.
  await eventually(
    async () =>
      (await count(
        run,
        `select count(*)::int as n from observer.job_change where from_state = 'executing' and to_state = 'available'`,
      )) > 0,
  )
  run.fault('SIGKILL', 'leader', at, { seen: signal === 'SIGKILL', text: `ended by ${signal}` })
  run.effects.release()
  await run.quiet(40_000)
  return run
}

export async function count(run: ChaosRun, sql: string, values: unknown[] = []): Promise<number> {
  const { rows } = await run.pool.query<{ n: number }>(sql, values)
  return rows[0]?.n ?? 0
}

async function allReadBy(run: ChaosRun, name: string): Promise<boolean> {
  const others = await count(
    run,
    `select count(*)::int as n from millrace.position p
     where p.owner is null or p.owner not in (select id from millrace.process where name = $1)`,
    [name],
  )
  return others === 0 && (await run.unread()) === 0
}

async function ownsSome(run: ChaosRun, name: string): Promise<boolean> {
  const owned = await count(
    run,
    `select count(*)::int as n from millrace.position p join millrace.process o on o.id = p.owner
     where o.name = $1 and o.expires_at > clock_timestamp()`,
    [name],
  )
  return owned > 0
}

async function movedAfter(run: ChaosRun, first: string, second: string): Promise<boolean> {
  const moves = await count(
    run,
    `select count(*)::int as n from observer.position_change a join observer.position_change b
       using (topic_id, partition) where a.actor = $1 and b.actor = $2 and b.seq > a.seq`,
    [first, second],
  )
  return moves > 0
}

async function isExecutedBy(run: ChaosRun, kind: string, name: string): Promise<boolean> {
  const executing = await count(
    run,
    `select count(*)::int as n from millrace.job j join millrace.process p on p.id = j.process_id
     where j.kind = $1 and j.state = 'executing' and p.name = $2`,
    [kind, name],
  )
  return executing > 0
}
