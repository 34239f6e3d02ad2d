import type { Core } from '../core/core.ts'
import { parseDuration, type Duration } from '../core/duration.ts'
import { isWhole, Problems } from '../errors/config.ts'
import { encodeArgs } from './args.ts'
import type { InsertableJob } from './insertable-job.ts'
import { encodeMeta, type JobMeta } from './meta.ts'
import { isName } from './name.ts'

/** Options of {@link newJob}. */
export interface NewJobOptions {
  /** Not before this instant. Default: at once. Not together with `scheduleIn`. */
  readonly scheduledAt?: Date
  /** Not before this long after the insert, in database time. At most 3,660 days. Not together with `scheduledAt`. */
  readonly scheduleIn?: Duration
  /** Default: the definition's. */
  readonly priority?: number
  /** Default: the definition's. */
  readonly queue?: string
  /** Default: the definition's. */
  readonly maxAttempts?: number
  readonly meta?: JobMeta
}

/** A job that is ready to be inserted: validated, with its id. Plain data. */
export interface NewJob {
  readonly id: string
  readonly kind: string
  readonly queue: string
  readonly priority: number
  readonly maxAttempts: number
  readonly maxCrashes: number
  readonly application: string | null
  readonly scheduledAt: Date | null
  readonly scheduleInMs: number | null
  readonly argsJson: string
  readonly metaJson: string | null
}

const NO_OPTIONS: NewJobOptions = {}
const MAX_SCHEDULE_MS = 3_660 * 86_400_000

/**
 * Makes a job of `definition` from `args`. Nothing is written: see `insertJobs`.
 * @throws E_EVENT_INVALID when the args do not match the schema, or do not survive being JSON.
 * @throws E_EVENT_TOO_LARGE
 * @throws E_CONFIG_INVALID when an option is wrong.
 */
export function newJob<Input>(
  core: Core,
  definition: InsertableJob<Input>,
  args: NoInfer<Input>,
  options: NewJobOptions = NO_OPTIONS,
): NewJob {
  const argsJson = encodeArgs(definition.kind, definition.args, args)
  const scheduleInMs = options === NO_OPTIONS ? null : checkOptions(definition.kind, options)
  const meta = options.meta
  return {
    id: core.ids.uuid(),
    kind: definition.kind,
    queue: options.queue ?? definition.queue,
    priority: options.priority ?? definition.priority,
    maxAttempts: options.maxAttempts ?? definition.maxAttempts,
    maxCrashes: definition.maxCrashes,
    application: meta?.origin?.application ?? null,
    scheduledAt: options.scheduledAt ?? null,
    scheduleInMs,
    argsJson,
    metaJson: meta === undefined ? null : encodeMeta(meta),
  }
}

function checkOptions(kind: string, options: NewJobOptions): number | null {
  const { scheduledAt, scheduleIn, priority, queue, maxAttempts } = options
  const scheduleInMs = scheduleIn === undefined ? null : (parseDuration(scheduleIn) ?? -1)
  const problems = new Problems(`a new job '${kind}'`)
  problems.expect(
    scheduledAt === undefined || !Number.isNaN(scheduledAt.getTime()),
    'scheduledAt',
    'a valid date',
    String(scheduledAt),
  )
  problems.expect(
    scheduleInMs === null || (scheduleInMs >= 0 && scheduleInMs <= MAX_SCHEDULE_MS),
    'scheduleIn',
    'a duration of at most 3660 days',
    scheduleIn,
  )
  problems.expect(
    scheduledAt === undefined || scheduleIn === undefined,
    'scheduleIn',
    'nothing when scheduledAt is given',
    scheduleIn,
  )
  problems.expect(
    priority === undefined || isWhole(priority, 0, 9),
    'priority',
    'a whole number from 0 to 9',
    priority,
  )
  problems.expect(
    queue === undefined || isName(queue),
    'queue',
    'a name of 1 to 200 characters',
    queue,
  )
  problems.expect(
    maxAttempts === undefined || isWhole(maxAttempts, 1, 1_000),
    'maxAttempts',
    'a whole number from 1 to 1000',
    maxAttempts,
  )
  problems.throwIfAny()
  return scheduleInMs
}
