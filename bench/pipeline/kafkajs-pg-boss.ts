import pg from 'pg'
import { PgBoss } from 'pg-boss'
import { runPipeline } from './contender.ts'
import { consumeWithKafkaJs } from './kafkajs.ts'

let boss: PgBoss
let pool: pg.Pool

// Batches of 500, four pollers that go on at once while batches come back full and are woken when something comes.
await runPipeline({
  async prepare({ databaseUrl }) {
    boss = new PgBoss({
      connectionString: databaseUrl,
      max: 10,
      schedule: false,
      useListenNotify: true,
    })
    boss.on('error', (error: Error) => {
      console.error(error)
    })
    pool = new pg.Pool({ connectionString: databaseUrl, max: 1 })
    await boss.start()
    await boss.createQueue('noop', { notify: true })
  },
  async start(task, marks) {
    await boss.work(
      'noop',
      {
        batchSize: 500,
        localConcurrency: 4,
        pollingIntervalSeconds: 0.5,
        burstWhenBatchFull: true,
      },
      async (jobs) => {
        for (const _ of jobs) marks.onJob()
      },
    )
    await consumeWithKafkaJs(task, marks, async (args) => {
      await boss.insert(
        'noop',
        args.map((data) => ({ data: data as object })),
      )
    })
  },
  async unfinished() {
    const { rows } = await pool.query<{ n: number }>(
      `select count(*)::int as n from pgboss.job where name = 'noop' and state < 'completed'`,
    )
    return rows[0]?.n ?? 0
  },
})
