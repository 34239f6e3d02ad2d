import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../../src/core/random.ts'
import { testDatabase } from '../support/database.ts'
import { ChaosRun, type ChaosWorker } from './chaos-run.ts'

const BLOWS = 24
const TAKE_OVER_MS = 1_000

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
      stopped.push(stopFor(run, victim, TAKE_OVER_MS * (0.5 + random.next())))
    }
  }
  over = true
  await Promise.all([load, ...stopped])
  await run.quiet(40_000)
  await run.pass()
})

/** Ends some connections of workers and producer, wherever they are. */
async function terminateSome(run: ChaosRun, share: number): Promise<void> {
  const at = Date.now()
  const { rowCount } = await run.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name <> '' and random() < $1`,
    [share],
  )
  run.fault('pg_terminate_backend', 'connections', at, {
    seen: true,
    text: `${rowCount} connections were ended`,
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
  const failedToStart = exit.code === 1 && !worker.events.some(({ event }) => event === 'ready')
  const seen = signal === 'SIGTERM' || exit.signal === signal || failedToStart
  const text = failedToStart ? 'it had not started' : `ended by ${exit.signal ?? exit.code}`
  run.fault(signal, worker.name, at, { seen, text })
  return next
}

/** Stops a worker for a while. */
async function stopFor(run: ChaosRun, worker: ChaosWorker, ms: number): Promise<void> {
  const at = Date.now()
  worker.kill('SIGSTOP')
  await sleep(ms)
  worker.kill('SIGCONT')
  run.fault('SIGSTOP', worker.name, at, { seen: true, text: `for ${Math.round(ms)} ms` })
}
