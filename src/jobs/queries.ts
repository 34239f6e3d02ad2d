import { METRICS, readCounts } from '../counts/counts.ts'
import type { ErrorDescription } from '../errors/describe.ts'
import { isWhole, Problems } from '../errors/config.ts'
import type { Queryable, Row } from '../postgres/queryable.ts'
import { FINISHED_STATES, UNFINISHED_STATES, type JobState } from './state.ts'

// What operators may order stands beside what they may ask.
export { cancelJobs, type JobOrder, type OrderResult } from './cancel.ts'
export { retryJobs } from './retry.ts'

/** A job as operators see it in a list. */
export interface JobSummary {
  readonly id: string
  readonly kind: string
  readonly queue: string
  readonly state: JobState
  readonly priority: number
  readonly attempt: number
  readonly maxAttempts: number
  readonly application: string | null
  readonly createdAt: Date
  /** When it is, or was, due. */
  readonly scheduledAt: Date
  readonly attemptedAt: Date | null
  /** Null: not finished. */
  readonly finishedAt: Date | null
  /** The last error's text; of a snoozed job, the reason. */
  readonly lastError: string | null
  /** What a handler or an operator said when it was cancelled or discarded. */
  readonly reason: string | null
}

/** An attempt that did not complete its job. */
export interface JobAttempt {
  readonly attempt: number
  /**
   * `lost`: the process died while it held the job, and nobody knows whether the handler had been started; not counted.
   * `late`: its result came after the job had been taken back, and changed nothing.
   */
  readonly outcome: 'failed' | 'timed_out' | 'crashed' | 'lost' | 'interrupted' | 'late'
  readonly error: ErrorDescription | null
  readonly processId: string | null
  readonly attemptedAt: Date | null
  readonly finishedAt: Date
}

/** Everything about one job. */
export interface JobDetails extends JobSummary {
  /** As JavaScript reads them: whole numbers past 2⁵³ are rounded. */
  readonly args: unknown
  /** As they are stored. */
  readonly argsJson: string
  readonly meta: unknown
  readonly error: ErrorDescription | null
  readonly crashes: number
  readonly suspect: boolean
  readonly cancelAsked: boolean
  readonly processId: string | null
  /** Oldest first. Attempts that completed the job, or were snoozed, are not among them. */
  readonly attempts: readonly JobAttempt[]
}

/** What {@link listJobs} looks for. */
export interface JobFilter {
  readonly state?: JobState
  readonly queue?: string
  readonly kind?: string
  readonly application?: string
  /** Where the last page ended: its `next`. */
  readonly after?: string
  /** Jobs of a page. Default 50. Bounds 1 … 1,000. */
  readonly limit?: number
}

/** A page of jobs, newest first by the time they were made. */
export interface JobPage {
  readonly jobs: readonly JobSummary[]
  /** Gives the next page as `after`; `null`: there is none. */
  readonly next: string | null
}

const SUMMARY = `id, kind, queue, state, priority, attempt, max_attempts as "maxAttempts", application,
  created_at as "createdAt", scheduled_at as "scheduledAt", attempted_at as "attemptedAt",
  last_error->>'message' as "lastError"`
const HOT = `${SUMMARY}, null::timestamptz as "finishedAt", null::text as reason`
const KEPT = `${SUMMARY}, finished_at as "finishedAt", reason`

/**
 * Jobs that match all that is given, unfinished and finished ones, page by page. Ids grow with time, so a page begins
 * where the last one ended, whatever has happened meanwhile.
 * @throws E_CONFIG_INVALID
 */
export async function listJobs(db: Queryable, filter: JobFilter = {}): Promise<JobPage> {
  const { state, queue, kind, application, after, limit = 50 } = filter
  const problems = new Problems('a list of jobs')
  problems.expect(isWhole(limit, 1, 1_000), 'limit', 'a whole number from 1 to 1000', limit)
  problems.expect(
    state === undefined || [...UNFINISHED_STATES, ...FINISHED_STATES].includes(state),
    'state',
    'a state of a job',
    state,
  )
  problems.throwIfAny()
  const values: unknown[] = [limit + 1]
  const wanted: string[] = []
  const want = (value: unknown, condition: (parameter: string) => string): void => {
    if (value !== undefined) wanted.push(condition(`$${values.push(value)}`))
  }
  want(state, (parameter) => `state = ${parameter}`)
  want(queue, (parameter) => `queue = ${parameter}`)
  want(kind, (parameter) => `kind = ${parameter}`)
  want(application, (parameter) => `application = ${parameter}`)
  want(after, (parameter) => `id < ${parameter}::uuid`)
  const where = wanted.length === 0 ? '' : `where ${wanted.join(' and ')}`
  const page = (columns: string, table: string): string =>
    `(select ${columns} from millrace.${table} ${where} order by id desc limit $1)`
  const sources: string[] = []
  if (state === undefined || isOneOf(UNFINISHED_STATES, state)) sources.push(page(HOT, 'job'))
  if (state === undefined || isOneOf(FINISHED_STATES, state))
    sources.push(page(KEPT, 'job_history'))
  const { rows } = await db.query<JobSummary & Row>(
    `/* millrace:job-list */ select * from (${sources.join(' union all ')}) listed order by id desc limit $1`,
    values,
  )
  const jobs = rows.slice(0, limit)
  return { jobs, next: rows.length > limit ? (jobs.at(-1)?.id ?? null) : null }
}

/** The job with that id, or `undefined`. */
export async function getJob(db: Queryable, id: string): Promise<JobDetails | undefined> {
  const details =
    'args, args::text as "argsJson", meta::json as meta, last_error as error, crashes, process_id as "processId"'
  const { rows } = await db.query<Omit<JobDetails, 'attempts'> & Row>(
    `/* millrace:job-get */ select ${HOT}, ${details}, suspect, cancel_asked as "cancelAsked"
     from millrace.job where id = $1
     union all
     select ${KEPT}, ${details}, false, false from millrace.job_history where id = $1
     limit 1`,
    [id],
  )
  if (rows[0] === undefined) return undefined
  const { rows: attempts } = await db.query<JobAttempt & Row>(
    `/* millrace:job-attempts */ select attempt, outcome, error, process_id as "processId",
       attempted_at as "attemptedAt", finished_at as "finishedAt"
     from millrace.job_attempt where job_id = $1 order by finished_at, attempt`,
    [id],
  )
  return { ...rows[0], attempts }
}

/** The kept counts of a queue. */
export interface QueueCounts {
  readonly queue: string
  /** Jobs that are not finished now. */
  readonly unfinished: number
  /** Since the installation began. */
  readonly inserted: number
  readonly completed: number
  readonly cancelled: number
  readonly discarded: number
  readonly attemptsFailed: number
}

/** The counts of every queue that ever had a job, by name. Kept, not counted: as cheap with a million jobs as with none. */
export async function queueCounts(db: Queryable): Promise<QueueCounts[]> {
  const fields = {
    unfinished: METRICS.jobsUnfinished,
    inserted: METRICS.jobsInserted,
    completed: METRICS.jobsCompleted,
    cancelled: METRICS.jobsCancelled,
    discarded: METRICS.jobsDiscarded,
    attemptsFailed: METRICS.attemptsFailed,
  } as const
  const counts = await readCounts(db, Object.values(fields))
  const queues = [...new Set(counts.map(({ label }) => label))].toSorted()
  return queues.map((queue) => {
    const of = (metric: string): number =>
      counts.find((count) => count.metric === metric && count.label === queue)?.value ?? 0
    return {
      queue,
      unfinished: of(fields.unfinished),
      inserted: of(fields.inserted),
      completed: of(fields.completed),
      cancelled: of(fields.cancelled),
      discarded: of(fields.discarded),
      attemptsFailed: of(fields.attemptsFailed),
    }
  })
}

function isOneOf<T extends string>(values: readonly T[], value: string): value is T {
  return (values as readonly string[]).includes(value)
}
