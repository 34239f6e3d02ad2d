import type { TestContext } from 'node:test'
import { testDatabase } from '../support/database.ts'
import { eventually } from '../support/wait.ts'
import type { Behaviour } from './application.ts'
import { ChaosRun } from './chaos-run.ts'
import { REPLAY_FAILPOINTS, type Trap } from './failpoints.ts'
import type { ScenarioOptions } from './scenarios.ts'

/** A third of all records fails, in every way there is. */
const BEHAVIOURS: readonly Behaviour[] = [
  'plain',
  'apply-hopeless',
  'plain',
  'job-hopeless',
  'quiet',
  'broken',
  'plain',
  'misshapen',
  'plain',
  'job-flaky',
  'plain',
  'plain',
]
/** What the audit has of all that the operator does. */
export const ACTIONS: readonly string[] = [
  'consumers.pause',
  'consumers.resume',
  'dlq.discard',
  'dlq.dry-run',
  'dlq.edit',
  'dlq.replay',
  'jobs.cancel',
  'jobs.retry',
  'replays.abort',
  'replays.pause',
  'replays.resume',
]
const behaviour = (n: number): Behaviour => BEHAVIOURS[n % BEHAVIOURS.length] as Behaviour

/**
 * An operator orders replays of dead letters, edits, discards, pauses and aborts, one after the other, while the process that
 * replays is killed at each place there is, and the operator's own in the middle of an order.
 */
export async function deadLetterOperators(
  t: TestContext,
  options: ScenarioOptions = {},
): Promise<ChaosRun> {
  const run = await ChaosRun.begin(t, {
    name: 'dead letter operators',
    database: await testDatabase(t),
    workers: { batchRecords: 10, takeOverMs: 1_000 },
    ...options,
  })
  await run.producer.produce(240, { behaviour })
  const before = run.worker({ name: 'before' })
  await eventually(async () => {
    const { rows } = await run.pool.query('select from millrace.dead_letter')
    return rows.length >= 80
  })
  before.kill('SIGKILL')
  await before.exited

  const trap: Trap = { name: 'transaction:before-commit', count: 9, signal: 'SIGKILL' }
  const first = run.operator({ seed: run.seed, trap })
  let operator = first
  const replaced = (async () => {
    const began = Date.now()
    const { signal } = await first.exited
    const isTrapped = first.events.at(-1)?.event === 'trap'
    run.fault('SIGKILL', 'operator at its commit', began, {
      seen: signal === 'SIGKILL' && isTrapped,
      text: `ended by ${signal}`,
    })
    operator = run.operator({ seed: run.seed + 1 })
  })()
  for (const name of REPLAY_FAILPOINTS) {
    const worker = run.worker({
      name: `dies-at-${name.replace(':', '-')}`,
      trap: { name, count: 3, signal: 'SIGKILL' },
    })
    const at = await worker.trapped()
    const { signal } = await worker.exited
    run.fault('SIGKILL', worker.name, at, {
      seen: signal === 'SIGKILL' && worker.events.at(-1)?.event === 'trap',
      text: `ended by ${signal}`,
    })
    await run.producer.produce(12, { behaviour })
  }
  await run.worker({ name: 'survivor' }).ready()
  await replaced
  await eventually(
    async () => {
      const { rows } = await run.pool.query('select distinct action from millrace.operator_action')
      // Of jobs that are done nothing can be cancelled.
      if (rows.length < ACTIONS.length) await run.producer.produce(12, { behaviour })
      return rows.length >= ACTIONS.length
    },
    { intervalMs: 200 },
  )
  operator.send('finish')
  await operator.waitFor('finished', { timeoutMs: 60_000 })
  await run.quiet(60_000)
  return run
}
