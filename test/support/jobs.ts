import type { TestContext } from 'node:test'
import type pg from 'pg'
import { createCore, type Core } from '../../src/core/core.ts'
import type { LogFields, Logger } from '../../src/core/logger.ts'
import { insertJobsNow } from '../../src/jobs/insert.ts'
import type { AnyJobDefinition, JobDefinition } from '../../src/jobs/job.ts'
import { newJob, type NewJobOptions } from '../../src/jobs/new-job.ts'
import { getJob, type JobDetails } from '../../src/jobs/queries.ts'
import { JobWaker } from '../../src/jobs/wake.ts'
import { Listener } from '../../src/postgres/listener.ts'
import { Heartbeat } from '../../src/process/heartbeat.ts'
import { Upkeep, type UpkeepOptions } from '../../src/upkeep/upkeep.ts'
import type { WorkerOptions } from '../../src/worker/options.ts'
import { Worker } from '../../src/worker/worker.ts'
import { testDatabase } from './database.ts'
import { eventually } from './wait.ts'

/** One line of a log. */
export interface LogLine {
  readonly level: string
  readonly fields: LogFields
  readonly message: string
}

/** What a test of jobs works with. */
export interface JobsBed {
  readonly core: Core
  readonly pool: pg.Pool
  readonly url: string
  readonly waker: JobWaker
  readonly log: readonly LogLine[]
  /** Inserts a job and gives its id. */
  insert<Input>(
    definition: JobDefinition<string, Input, unknown>,
    args: NoInfer<Input>,
    options?: NewJobOptions,
  ): Promise<string>
  /** Starts a worker with a heartbeat and a listener of its own; all stop with the test. */
  work(
    definitions: readonly AnyJobDefinition[],
    options?: Partial<WorkerOptions> & { readonly takeOverMs?: number },
  ): Promise<TestWorker>
  /** Starts upkeep; it stops with the test. */
  keepUp(options?: Partial<UpkeepOptions>): Promise<Upkeep>
  /** Waits until the job is in that state. */
  untilState(id: string, state: JobDetails['state']): Promise<JobDetails>
  /** The job, which must exist. */
  get(id: string): Promise<JobDetails>
}

/** A worker, and what belongs to it. */
export interface TestWorker {
  readonly worker: Worker
  readonly heartbeat: Heartbeat
  readonly listener: Listener
}

/** A migrated database, and what is needed to execute jobs in it. */
export async function jobsBed(t: TestContext): Promise<JobsBed> {
  const stops: (() => Promise<void>)[] = []
  const { pool, url } = await testDatabase({
    after: (action) => {
      t.after(async () => {
        for (const stop of stops.toReversed()) await stop()
        await action()
      })
    },
  })
  const log: LogLine[] = []
  const core = createCore({ logger: collectingLogger(log) })
  const waker = new JobWaker({ core, pool })
  stops.push(() => waker.idle())
  const get = async (id: string): Promise<JobDetails> => {
    const job = await getJob(pool, id)
    if (job === undefined) throw new Error(`there is no job ${id}`)
    return job
  }
  return {
    core,
    pool,
    url,
    waker,
    log,
    get,
    async insert(definition, args, options) {
      const made = newJob(core, definition, args, options)
      await insertJobsNow({ core, pool, waker }, [made])
      return made.id
    },
    async work(definitions, { takeOverMs = 15_000, ...options } = {}) {
      const heartbeat = new Heartbeat({ core, pool, applications: [], takeOverMs })
      await heartbeat.start()
      const listener = new Listener({ core, pool, pingMs: 500 })
      listener.start()
      const worker = new Worker({
        core,
        pool,
        heartbeat,
        listener,
        waker,
        definitions,
        limits: { pollMs: 100 },
        ...options,
      })
      worker.start()
      stops.push(async () => {
        await worker.stop(0)
        await listener.stop()
        await heartbeat.stop()
      })
      return { worker, heartbeat, listener }
    },
    async keepUp(options = {}) {
      const heartbeat = new Heartbeat({ core, pool, applications: [] })
      await heartbeat.start()
      const upkeep = new Upkeep({ core, pool, heartbeat, waker, ...options })
      upkeep.start()
      stops.push(async () => {
        await upkeep.stop()
        await heartbeat.stop()
      })
      return upkeep
    },
    untilState: (id, state) =>
      eventually(async () => {
        const found = await get(id)
        if (found.state !== state) throw new Error(`the job is ${found.state}, not ${state}`)
        return found
      }),
  }
}

/** A promise that is resolved from outside, for handlers that wait. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}

/** Drops every day of history there is, as if nobody had kept up for long. */
export async function dropHistoryDays(pool: pg.Pool): Promise<void> {
  await pool.query(
    `do $$ declare day regclass;
     begin for day in select inhrelid::regclass from pg_inherits
       where inhparent in ('millrace.job_history'::regclass, 'millrace.job_attempt'::regclass)
     loop execute format('drop table %s', day); end loop; end $$`,
  )
}

/** Takes every executing job away from whoever holds it, as a rescue would; or so that nobody may claim it again. */
export async function takeBack(
  pool: pg.Pool,
  state: 'available' | 'suspended' = 'available',
): Promise<void> {
  await pool.query(
    `update millrace.job set state = $1, token = null, process_id = null, attempt = attempt - 1
     where state = 'executing'`,
    [state],
  )
}

function collectingLogger(lines: LogLine[], bound: LogFields = {}): Logger {
  const at =
    (level: string) =>
    (fields: LogFields, message: string): void => {
      lines.push({ level, fields: { ...bound, ...fields }, message })
    }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => collectingLogger(lines, { ...bound, ...fields }),
  }
}
