import { Logger, makeWorkerUtils, run as runWorker, type WorkerUtils } from 'graphile-worker'
import pg from 'pg'
import { databaseUrl, run } from './contender.ts'

// Tuned as in its own performance guide: a local queue of 500, completions in batches.
const pool = new pg.Pool({ connectionString: databaseUrl(), max: 20 })
const logger = new Logger(() => () => {})
let utils: WorkerUtils

await run({
  callJobs: Infinity,
  async prepare() {
    utils = await makeWorkerUtils({ pgPool: pool, logger })
    await utils.migrate()
  },
  async insert(jobs) {
    await utils.addJobs(jobs.map((payload) => ({ identifier: 'noop', payload })))
  },
  async work(onJob) {
    await runWorker({
      pgPool: pool,
      logger,
      noHandleSignals: true,
      taskList: {
        noop: async () => {
          onJob()
        },
      },
      preset: {
        worker: {
          concurrentJobs: 24,
          localQueue: { size: 500 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      },
    })
  },
  async unfinished() {
    const { rows } = await pool.query<{ n: number }>(
      'select count(*)::int as n from graphile_worker._private_jobs',
    )
    return rows[0]?.n ?? 0
  },
  async close() {},
})
