import test from 'node:test'
import { seededRandom } from '../../src/core/random.ts'
import { testDatabase } from '../support/database.ts'
import { eventually } from '../support/wait.ts'
import { ChaosRun } from './chaos-run.ts'

test('comes to rest after all workers died at once, with nothing lost or doubled', async (t) => {
  const run = await ChaosRun.begin(t, {
    name: 'all workers die at once',
    database: await testDatabase(t),
    workers: { batchRecords: 10 },
  })
  const random = seededRandom(run.seed)
  await run.producer.produce(240)
  const workers = [1, 2, 3].map((n) => run.worker({ name: `first-${n}` }))
  await Promise.all(workers.map((worker) => worker.ready()))
  const enough = 20 + Math.floor(random.next() * 100)
  const jobs = async (state: string): Promise<number> => {
    const { rows } = await run.pool.query<{ n: number }>(
      `select count(*)::int as n from (select state from millrace.job
         union all select state from millrace.job_history) j where state = $1`,
      [state],
    )
    return rows[0]?.n ?? 0
  }
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
  await run.pass()
})
