import { Logger, makeWorkerUtils, run as runWorker, type WorkerUtils } from 'graphile-worker'
import pg from 'pg'
import { runPipeline } from './contender.ts'
import { consumeWithKafkaJs } from './kafkajs.ts'

// Tuned as in its own performance guide: a local queue of 500, completions in batches.
const logger = new Logger(() => () => {})
let pool: pg.Pool
let utils: WorkerUtils

await runPipeline({
  async prepare({ databaseUrl }) {
    pool = new pg.Pool({ connectionString: databaseUrl, max: 20 })
    pool.on('error', () => {})
    utils = await makeWorkerUtils({ pgPool: pool, logger })
    await utils.migrate()
  },
  async start(task, marks) {
    await runWorker({
      pgPool: pool,
      logger,
      noHandleSignals: true,
      taskList: {
        noop: async () => {
          marks.onJob()
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
    await consumeWithKafkaJs(task, marks, async (args) => {
      await utils.addJobs(args.map((payload) => ({ identifier: 'noop', payload })))
    })
  },
  async unfinished() {
    const { rows } = await pool.query<{ n: number }>(
      'select count(*)::int as n from graphile_worker._private_jobs',
    )
    return rows[0]?.n ?? 0
  },
})
