import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../../src/core/random.ts'
import { entriesOf } from '../support/checker/history.ts'
import { testDatabase } from '../support/database.ts'
import { isStopped } from '../support/process.ts'
import { eventually } from '../support/wait.ts'
import { ChaosRun, type ChaosWorker } from './chaos-run.ts'

const BLOWS = 24
const TAKE_OVER_MS = 1_000
/** How long the server waits for the end of a session. */
const GONE_WITHIN_MS = 5_000

test('keeps every promise while processes and connections are hit at random', async (t) => {
  const run = await ChaosRun.begin(t, {
    name: 'mayhem',
    database: await testDatabase(t),
    workers: { batchRecords: 10, takeOverMs: TAKE_OVER_MS, transactionTimeoutMs: 500 },
  })
  const random = seededRandom(run.seed + 2)
  const workers: ChaosWorker[] = Array.from({ length: 3 }, () => run.worker())
  await Promise.all(workers.map((worker) => worker.ready()))
  const stopped: Promise<void>[] = []
  let over = false
  const load = (async () => {
    while (!over) {
      await run.producer.produce(20)
      await sleep(50)
    }
  })()
  for (let blow = 0; blow < BLOWS; blow += 1) {
    // When it happens is part of the chance; nothing waits for it.
    await sleep(50 + random.next() * 400)
    const at = Math.floor(random.next() * workers.length)
    const victim = workers[at] as ChaosWorker
    const draw = random.next()
    if (draw < 0.5) {
      await terminateSome(run, random.next())
    } else if (draw < 0.7) {
      workers[at] = await end(run, victim, 'SIGKILL')
    } else if (draw < 0.85) {
      workers[at] = await end(run, victim, 'SIGTERM')
    } else {
      const ms = TAKE_OVER_MS * (0.5 + random.next())
      // Only from when it really stands still may the next blow follow.
      if (await stop(victim)) stopped.push(goOnAfter(run, victim, ms))
    }
  }
  over = true
  await Promise.all([load, ...stopped])
  await run.quiet(40_000)
  await run.pass()
  const faults = entriesOf(run.history(), 'fault')
  assert.ok(faults.length >= BLOWS / 2, `only ${faults.length} of ${BLOWS} blows hit anybody`)
})

/** Ends some connections of workers and producer, wherever they are, one at least. */
async function terminateSome(run: ChaosRun, share: number): Promise<void> {
  const at = Date.now()
  const { rows } = await run.pool.query<{ asked: number; ended: number }>(
    `with victim as materialized (
       select pid from pg_stat_activity where datname = current_database() and application_name <> ''
       order by random() limit greatest(1, (
         select round(count(*) * $1::float8) from pg_stat_activity
         where datname = current_database() and application_name <> ''))
     ) select count(*)::int as asked, (count(*) filter (where pg_terminate_backend(pid, $2)))::int as ended from victim`,
    [share, GONE_WITHIN_MS],
  )
  const { asked = 0, ended = 0 } = rows[0] ?? {}
  // Right behind another such blow there may be nobody left.
  if (asked === 0) return
  run.fault('pg_terminate_backend', 'connections', at, {
    seen: ended > 0,
    text: `${ended} of ${asked} connections are gone`,
  })
}

/** Ends a worker by a signal, and starts one in its place. */
async function end(
  run: ChaosRun,
  worker: ChaosWorker,
  signal: 'SIGKILL' | 'SIGTERM',
): Promise<ChaosWorker> {
  const at = Date.now()
  worker.kill('SIGCONT')
  worker.kill(signal)
  const next = run.worker()
  const exit = await worker.exited
  // A connection that was ended while the worker started is an error of start: it is over before the blow.
  if (exit.code === 1 && !said(worker, 'ready')) return next
  // Before it is ready it does not listen for SIGTERM, and ends by it.
  const inOrder = signal === 'SIGTERM' && exit.code === 0 && said(worker, 'stopped')
  run.fault(signal, worker.name, at, {
    seen: exit.signal === signal || inOrder,
    text: `ended by ${exit.signal ?? exit.code}${inOrder ? ' after it had stopped in good order' : ''}`,
  })
  return next
}

function said(worker: ChaosWorker, name: string): boolean {
  return worker.events.some(({ event }) => event === name)
}

/** Stops a worker; gives whether it was there to be stopped, and stands still now. */
async function stop(worker: ChaosWorker): Promise<boolean> {
  let isThere = true
  void worker.exited.then(() => {
    isThere = false
  })
  worker.kill('SIGSTOP')
  await eventually(() => !isThere || isStopped(worker.pid))
  return isThere
}

/** Lets a worker that is stopped go on after a while, unless another blow has ended it by then. */
async function goOnAfter(run: ChaosRun, worker: ChaosWorker, ms: number): Promise<void> {
  const at = Date.now()
  const seen = isStopped(worker.pid)
  await sleep(ms)
  worker.kill('SIGCONT')
  run.fault('SIGSTOP', worker.name, at, {
    seen,
    text: `stood still, at most for ${Math.round(ms)} ms`,
  })
}
