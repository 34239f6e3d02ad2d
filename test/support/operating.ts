import type { TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import type { LogFactory } from '../../src/log/factory.ts'
import { connectOperator, type Operator } from '../../src/app/operator.ts'
import type { Millrace } from '../../src/app/start.ts'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { toJob } from '../../src/bridge/to-job.ts'
import { application, type Application } from '../../src/consumer/application.ts'
import { listConsumers, listGaps, type Gap } from '../../src/consumer/queries.ts'
import { event } from '../../src/events/event.ts'
import { job } from '../../src/jobs/job.ts'
import type { Log } from '../../src/log/port.ts'
import { TABLE_LOG, type TestedLog } from './both-logs.ts'
import { cleanup } from './cleanup.ts'
import { testDatabase } from './database.ts'
import { keepingLogger, running, settled, type LogLine } from './millrace.ts'
import { eventually } from './wait.ts'

const countedIn = (topic: string) =>
  event('COUNTED', { source: 'TEST', topic, schema: z.object({ n: z.int() }) })

/** The events that {@link operated} handles on the table log. */
export const counted = countedIn('numbers')

const note = job('note', { args: z.object({ n: z.int() }), handle: () => {} })

/** `{ n }` from `from` up to, not including, `to`. */
export const numbers = (from: number, to: number): { n: number }[] =>
  Array.from({ length: to - from }, (_, i) => ({ n: from + i }))

/** An application that makes a job of every number and a row of `done` in the position's transaction. */
export function counting(
  name = 'app',
  options: Parameters<typeof application>[1] = {},
  definition: typeof counted = counted,
): Application {
  return application(name, options)
    .on(
      definition,
      toJob(note, ({ data }) => data),
    )
    .on(
      definition,
      inTransaction(
        async ({ data }, { tx, generation, record }) =>
          void (await tx.query(
            'insert into done (app, n, generation, topic_id, "offset") values ($1, $2, $3, $4, $5)',
            [name, data.n, generation, record.topicId, record.offset],
          )),
      ),
      { name: 'done' },
    )
}

/** What an application has handled: which number, in which generation. */
export interface Done {
  readonly n: number
  readonly generation: number
}

/** An application of one topic with one partition, and what an operator needs. */
export interface Operated {
  readonly url: string
  readonly pool: pg.Pool
  readonly log: Log
  readonly operator: Operator
  readonly topic: string
  readonly topicId: string
  /** The events of the topic. */
  readonly counted: typeof counted
  /** See {@link counting}; of this topic. */
  counting(name?: string): Application
  /** Starts the application; it is ready when each of its positions is read, halted or paused. */
  start(options?: {
    readonly app?: Application
    readonly log?: LogFactory
  }): Promise<{ readonly millrace: Millrace; readonly lines: readonly LogLine[] }>
  /** What was handled, in order. */
  done(app?: string): Promise<Done[]>
  /** Jobs that were made, as `number/generation`, by both. */
  jobs(): Promise<string[]>
  /** Waits until an application has read all that there is, and no job is left. Default: `app`. */
  caughtUp(app?: string): Promise<void>
  /** Waits for the application to be stopped, and gives what was found. */
  gap(): Promise<Gap>
}

/** The log line of a finding. */
export const ALARM = 'the log is not what it was: this partition is stopped until somebody decides'

/**
 * A database in which the application `app` has handled the numbers 0 to 4 and was stopped; 4 is the last record it saw.
 * On the table log unless another is given; its topic is called `numbers` there.
 */
export async function operated(
  t: TestContext,
  partitions = 1,
  testedLog: TestedLog = TABLE_LOG,
): Promise<Operated> {
  const { url, pool } = await testDatabase(t)
  const { topic, options } = await testedLog.use(t, 'numbers')
  const definition = countedIn(topic)
  const countingHere = (name = 'app'): Application => counting(name, {}, definition)
  await pool.query(
    `create table done (seq bigint generated always as identity, app text, n int, generation int, topic_id uuid, "offset" bigint)`,
  )
  const first = await running(t, {
    database: url,
    run: [countingHere()],
    topics: { [topic]: { partitions } },
    ...options,
  })
  await first.publishMany(definition, numbers(0, 5))
  await settled(first)
  await first.stop()
  const operator = await connectOperator({ database: pool, user: 'ana@test', ...options })
  cleanup(t, () => operator.close())
  const log = await operator.log()
  return {
    url,
    pool,
    log,
    operator,
    topic,
    topicId: (await log.topic(topic))?.id as string,
    counted: definition,
    counting: countingHere,
    async start({ app = countingHere(), log: factory = options.log } = {}) {
      const logger = keepingLogger()
      const millrace = await running(t, {
        database: url,
        run: [app],
        logger,
        ...(factory === undefined ? {} : { log: factory }),
      })
      return { millrace, lines: logger.lines }
    },
    async done(app = 'app') {
      const { rows } = await pool.query<{ n: number; generation: number }>(
        'select n, generation from done where app = $1 order by seq',
        [app],
      )
      return rows
    },
    async jobs() {
      const { rows } = await pool.query<{ job: string }>(
        `select (args ->> 'n') || '/' || (meta::json -> 'origin' ->> 'generation') as job from (
           select args, meta from millrace.job union all select args, meta from millrace.job_history) j
         order by (args ->> 'n')::int, job`,
      )
      return rows.map((row) => row.job)
    },
    async caughtUp(app = 'app') {
      await eventually(async () => {
        const positions = await listConsumers(pool, log, { application: app })
        const { rowCount } = await pool.query('select from millrace.job limit 1')
        const all = positions.every(({ lag, state }) => lag === 0n && state === 'reading')
        return positions.length > 0 && all && rowCount === 0
      })
    },
    async gap() {
      const gap = await eventually(async () => (await listGaps(pool, { open: true }))[0])
      return gap as Gap
    },
  }
}
