import { z } from 'zod'
import { toJob } from '../../src/bridge/to-job.ts'
import { application } from '../../src/consumer/application.ts'
import { foreign } from '../../src/events/foreign.ts'
import { job } from '../../src/jobs/job.ts'
import type { LogFactory } from '../../src/log/factory.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { migrate } from '../../src/postgres/migrate.ts'
import { start } from '../../src/app/start.ts'
import type { PipelineMarks, PipelineTask } from './contender.ts'

const schema = z.object({ n: z.int(), text: z.string() })

/** One process of ours with everything at its default: records to jobs, worked off, the history kept. */
export async function startMillrace(
  { databaseUrl, topic }: PipelineTask,
  marks: PipelineMarks,
  log: LogFactory,
): Promise<void> {
  const noop = job('bench.noop', {
    args: schema,
    async handle() {
      marks.onJob()
    },
  })
  const record = foreign(topic, { schema })
  const pipeline = application('pipeline', { start: 'beginning' }).on(
    record,
    toJob(noop, ({ data }) => {
      marks.onRecord()
      return data
    }),
  )
  await start({ database: databaseUrl, log, run: [pipeline], partitions: 6 })
}

let pool: ReturnType<typeof createPool>

/** Makes the tables. */
export async function prepareMillrace({ databaseUrl }: PipelineTask): Promise<void> {
  pool = createPool(databaseUrl)
  await migrate(pool)
}

/** Jobs that are not finished. */
export async function unfinishedOfMillrace(): Promise<number> {
  const { rows } = await pool.query<{ n: number }>('select count(*)::int as n from millrace.job')
  return rows[0]?.n ?? 0
}
