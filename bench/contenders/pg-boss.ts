import pg from 'pg'
import { PgBoss } from 'pg-boss'
import { databaseUrl, run } from './contender.ts'

// Batches of 500, four pollers that go on at once while batches come back full and are woken when something comes.
const boss = new PgBoss({
  connectionString: databaseUrl(),
  max: 10,
  schedule: false,
  useListenNotify: true,
})
boss.on('error', (error: Error) => {
  console.error(error)
})
const pool = new pg.Pool({ connectionString: databaseUrl(), max: 1 })

await run({
  callJobs: 10_000,
  async prepare() {
    await boss.start()
    await boss.createQueue('noop', { notify: true })
  },
  async insert(jobs) {
    await boss.insert(
      'noop',
      jobs.map((data) => ({ data })),
    )
  },
  async work(onJob) {
    await boss.work(
      'noop',
      {
        batchSize: 500,
        localConcurrency: 4,
        pollingIntervalSeconds: 0.5,
        burstWhenBatchFull: true,
      },
      async (jobs) => {
        for (const _ of jobs) onJob()
      },
    )
  },
  async unfinished() {
    const { rows } = await pool.query<{ n: number }>(
      `select count(*)::int as n from pgboss.job where name = 'noop' and state < 'completed'`,
    )
    return rows[0]?.n ?? 0
  },
  async close() {},
})
