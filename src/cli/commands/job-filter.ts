import { isUuid } from '../../core/ids.ts'
import { listJobs, type JobFilter, type JobSummary } from '../../jobs/queries.ts'
import type { Operator } from '../../app/operator.ts'
import { usage } from '../errors.ts'
import type { Arguments, OptionSet } from '../options.ts'
import { TIME_OPTIONS } from '../options.ts'

/** The states of a job, those of unfinished jobs first. */
const JOB_STATES = [
  'available',
  'scheduled',
  'executing',
  'retryable',
  'suspended',
  'completed',
  'cancelled',
  'discarded',
] as const satisfies readonly JobSummary['state'][]

/** Options that choose jobs. */
export const JOB_FILTER_OPTIONS: OptionSet = {
  state: { type: 'string', value: '<state>', help: `only in this state: ${JOB_STATES.join(', ')}` },
  kind: { type: 'string', value: '<kind>', help: 'only of this kind' },
  queue: { type: 'string', value: '<queue>', help: 'only of this queue' },
  app: { type: 'string', value: '<name>', help: 'only those that this application made' },
  ...TIME_OPTIONS,
}

/** Which jobs a command line chooses. */
export interface JobChoice {
  readonly filter: JobFilter
  /** Ids below this are older than `--since`: a list from new to old ends there. */
  readonly oldest: string | undefined
  /** Whether anything was chosen at all. */
  readonly narrowed: boolean
}

/** Reads {@link JOB_FILTER_OPTIONS}. Times are those at which the jobs were made, as their ids tell. */
export function jobChoice(args: Arguments): JobChoice {
  const since = args.time('since')
  const until = args.time('until')
  const before = args.text('before')
  const given = {
    state: args.word('state', JOB_STATES),
    kind: args.text('kind'),
    queue: args.text('queue'),
    application: args.text('app'),
  }
  const bounds = [
    ...(until === undefined ? [] : [firstId(until)]),
    ...(before === undefined ? [] : [jobId(before)]),
  ]
  const after = bounds.toSorted()[0]
  const narrowed = [...Object.values(given), since, until].some((value) => value !== undefined)
  const filter = Object.fromEntries(
    Object.entries({ ...given, after }).filter(([, value]) => value !== undefined),
  )
  return {
    filter,
    oldest: since === undefined ? undefined : firstId(since),
    narrowed,
  }
}

/**
 * A page of the jobs chosen.
 * @param limit at most this many
 */
export async function chosenJobs(
  { pool }: Operator,
  { filter, oldest }: JobChoice,
  limit: number,
): Promise<{ readonly jobs: readonly JobSummary[]; readonly next: string | null }> {
  const { jobs, next } = await listJobs(pool, { ...filter, limit })
  if (oldest === undefined) return { jobs, next }
  const young = jobs.filter(({ id }) => id >= oldest)
  return { jobs: young, next: young.length < jobs.length ? null : next }
}

/** @throws E_CLI_USAGE when `text` is no id. */
export function jobId(text: string): string {
  if (!isUuid(text))
    throw usage(`expected the id of a job, a UUID, got '${text}'`, 'millrace jobs list')
  return text.toLowerCase()
}

/** The lowest id that a job made at `time` can have: ids are UUIDs version 7, which begin with the time in milliseconds. */
function firstId(time: Date): string {
  const hex = Math.max(0, time.getTime()).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-0000-0000-000000000000`
}
