import assert from 'node:assert/strict'
import test from 'node:test'
import { testDatabase } from '../support/database.ts'
import { eventually } from '../support/wait.ts'
import { ChaosRun } from './chaos-run.ts'

const MAX_CRASHES = 2

test('discards a job that ends its process each time, and charges no other', async (t) => {
  const run = await ChaosRun.begin(t, {
    name: 'a job that kills',
    database: await testDatabase(t),
    workers: { batchRecords: 10, takeOverMs: 1_000 },
  })
  await run.producer.produce(40, { behaviour: (n) => (n === 20 ? 'job-killer' : 'plain') })
  const isDiscarded = async (): Promise<boolean> => {
    const { rowCount } = await run.pool.query(
      `select from millrace.job_history where state = 'discarded'`,
    )
    return rowCount === 1
  }
  // The bridge makes jobs with the bound of their kind, which is higher.
  await run.pool.query(
    `create function lower_bound() returns trigger language plpgsql as
       $$ begin new.max_crashes := ${MAX_CRASHES}; return new; end $$;
     create trigger lower_bound before insert on millrace.job for each row execute function lower_bound()`,
  )
  let deaths = 0
  for (let n = 0; n < MAX_CRASHES + 3 && !(await isDiscarded()); n += 1) {
    const trap = { name: 'handler:killer', count: 1, signal: 'SIGKILL' } as const
    const worker = run.worker({ trap })
    const at = Date.now()
    const died = worker.exited.then(() => true)
    await eventually(
      async () => (await Promise.race([died, Promise.resolve(false)])) || (await isDiscarded()),
      { timeoutMs: 60_000 },
    )
    const last = worker.events.at(-1)
    if (last?.event !== 'trap') break
    deaths += 1
    const { signal } = await worker.exited
    run.fault('SIGKILL', `${worker.name} by its job`, at, {
      seen: signal === 'SIGKILL',
      text: `ended by ${signal} in its trap`,
    })
  }
  await run.worker({ name: 'survivor' }).ready()
  await run.quiet(40_000)
  // The first death makes suspects of all that the process held, and charges none.
  assert.equal(deaths, 1 + MAX_CRASHES)
  const dumps = await run.pass()
  const charged = dumps.jobs.filter(({ crashes }) => crashes > 0)
  assert.deepEqual(
    charged.map(({ state, crashes }) => ({ state, crashes })),
    [{ state: 'discarded', crashes: MAX_CRASHES }],
  )
})
