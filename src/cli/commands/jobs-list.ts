import type { JobSummary } from '../../jobs/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, PAGE_OPTIONS } from '../options.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'
import { chosenJobs, JOB_FILTER_OPTIONS, jobChoice } from './job-filter.ts'

const COLUMNS: readonly Column<JobSummary>[] = [
  { name: 'id', of: (job) => job.id },
  { name: 'state', of: (job) => job.state },
  { name: 'kind', of: (job) => job.kind, least: 12 },
  { name: 'queue', of: (job) => job.queue, least: 8 },
  { name: 'attempt', of: (job) => `${job.attempt}/${job.maxAttempts}`, align: 'right' },
  { name: 'created', of: (job) => shownTime(job.createdAt) },
  { name: 'due', of: (job) => (job.finishedAt === null ? shownTime(job.scheduledAt) : null) },
  { name: 'error', of: (job) => job.reason ?? job.lastError, least: 16 },
  { name: 'app', of: (job) => job.application, hidden: true },
  { name: 'priority', of: (job) => job.priority, align: 'right', hidden: true },
  { name: 'attempted', of: (job) => shownTime(job.attemptedAt), hidden: true },
  { name: 'finished', of: (job) => shownTime(job.finishedAt), hidden: true },
]
const USUAL = 50

/** `millrace jobs list` */
export const jobsListCommand: Command = {
  summary: 'jobs, newest first',
  options: { ...JOB_FILTER_OPTIONS, ...PAGE_OPTIONS, ...DATABASE_OPTIONS },
  notes: [
    `Columns: ${COLUMNS.map(({ name }) => name).join(', ')}.`,
    '--since and --until go by the time at which a job was made.',
  ],
  examples: [
    'millrace jobs list --state discarded --since 1h',
    'millrace jobs list --kind order.send-confirmation --jsonl',
  ],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, COLUMNS)
    const choice = jobChoice(args)
    const limit = args.whole('limit', 1, 1_000) ?? USUAL
    return withOperator(context, {}, async ({ operator }) => {
      const { jobs, next } = await chosenJobs(operator, choice, limit)
      const empty = choice.narrowed
        ? 'no jobs that fit. Fewer conditions show more; finished jobs are kept for some days only.'
        : 'no jobs. Handlers make them (toJob), and so does millrace.insert(job, args).'
      await out.list(columns, { items: jobs, more: next }, (job) => job, empty)
      return EXIT.ok
    })
  },
}
