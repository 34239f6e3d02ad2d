import { z } from 'zod'
import { createCore } from '../../src/core/core.ts'
import { insertJobsNow } from '../../src/jobs/insert.ts'
import { job } from '../../src/jobs/job.ts'
import { newJob, type NewJob } from '../../src/jobs/new-job.ts'
import { JobWaker } from '../../src/jobs/wake.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { Listener } from '../../src/postgres/listener.ts'
import { migrate } from '../../src/postgres/migrate.ts'
import { Heartbeat } from '../../src/process/heartbeat.ts'
import { Worker } from '../../src/worker/worker.ts'
import { databaseUrl, run, type BenchArgs } from './contender.ts'

const core = createCore()
const pool = createPool(databaseUrl())
const waker = new JobWaker({ core, pool })
let onEach = (): void => {}
const noop = job('bench.noop', {
  args: z.object({ n: z.int(), text: z.string() }),
  async handle() {
    onEach()
  },
})

/** Made as they are asked for, as `insertMany` of a started millrace does it. */
function* made(jobs: readonly BenchArgs[]): Generator<NewJob, void> {
  for (const args of jobs) yield newJob(core, noop, args)
}

await run({
  callJobs: Infinity,
  async prepare() {
    await migrate(pool)
  },
  async insert(jobs) {
    await insertJobsNow({ core, pool, waker }, made(jobs))
  },
  async work(onJob) {
    onEach = onJob
    const heartbeat = new Heartbeat({ core, pool, applications: [] })
    await heartbeat.start()
    const listener = new Listener({ core, pool })
    listener.start()
    new Worker({ core, pool, heartbeat, listener, waker, definitions: [noop] }).start()
  },
  async unfinished() {
    const { rows } = await pool.query<{ n: number }>('select count(*)::int as n from millrace.job')
    return rows[0]?.n ?? 0
  },
  async close() {},
})
