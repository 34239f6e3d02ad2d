import pg from 'pg'
import { databaseUrl, run } from './contender.ts'

// Nothing of a framework: one table, `delete … returning` in batches of 500, two loops.
const pool = new pg.Pool({ connectionString: databaseUrl(), max: 4 })

await run({
  callJobs: 1_000,
  async prepare() {
    await pool.query(
      'create table job (id bigint generated always as identity primary key, args json)',
    )
  },
  async insert(jobs) {
    await pool.query('insert into job (args) select * from unnest($1::json[])', [
      jobs.map((args) => JSON.stringify(args)),
    ])
  },
  async work(onJob) {
    const loop = async (): Promise<void> => {
      for (;;) {
        const { rows } = await pool.query<{ args: unknown }>(
          `delete from job where id = any (array(
             select id from job order by id limit 500 for update skip locked)) returning args`,
        )
        for (const _ of rows) onJob()
        if (rows.length === 0) return
      }
    }
    await Promise.all([loop(), loop()])
  },
  async unfinished() {
    const { rows } = await pool.query<{ n: number }>('select count(*)::int as n from job')
    return rows[0]?.n ?? 0
  },
  async close() {},
})
