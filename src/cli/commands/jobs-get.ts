import { MillraceError } from '../../errors/millrace-error.ts'
import { getJob, type JobDetails } from '../../jobs/queries.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { safeJson } from '../safe-text.ts'
import { formatFacts, type Fact } from '../sections.ts'
import { shownTime } from '../times.ts'
import { jobId } from './job-filter.ts'

/** `millrace jobs get` */
export const jobsGetCommand: Command = {
  summary: 'one job with its args, attempts and errors',
  usage: '<id>',
  positionals: { min: 1, max: 1 },
  options: { ...JSON_OPTION, ...DATABASE_OPTIONS },
  examples: ['millrace jobs get 01a205a0-d634-7000-955f-4261d11b89c8 --json'],
  run(context) {
    const { args, out } = context
    const id = jobId(args.positionals[0] as string)
    return withOperator(context, {}, async ({ operator }) => {
      const job = await getJob(operator.pool, id)
      if (job === undefined) {
        throw new MillraceError(
          'E_JOB_NOT_FOUND',
          `there is no job ${id}. It may have been finished so long ago that it is not kept any more.`,
          { details: { id } },
        )
      }
      if (out.format === 'json') out.json(job)
      else out.text(toText(job))
      return EXIT.ok
    })
  },
}

function toText(job: JobDetails): string {
  const { error } = job
  return formatFacts([
    ['job', job.id],
    ['kind', job.kind],
    ['state', job.cancelAsked ? `${job.state} (asked to cancel)` : job.state],
    ['queue', job.queue],
    ['priority', job.priority],
    ['app', job.application],
    ['attempt', `${job.attempt} of ${job.maxAttempts}`],
    ['crashes', job.crashes === 0 ? null : job.crashes],
    ['suspect', job.suspect ? 'yes: its process died, so it is run alone' : null],
    ['created', shownTime(job.createdAt)],
    ['due', shownTime(job.scheduledAt)],
    ['attempted', shownTime(job.attemptedAt)],
    ['finished', shownTime(job.finishedAt)],
    ['process', job.processId],
    ['reason', job.reason],
    ['args', safeJson(job.args)],
    ['meta', job.meta === null ? null : safeJson(job.meta)],
    ['error', error === null ? null : `${error.code ?? error.class}: ${error.message}`],
    ...(error?.causes ?? []).map(
      (cause): Fact => ['caused by', `${cause.code ?? cause.class}: ${cause.message}`],
    ),
    ['stack', error?.stack],
    ...job.attempts.map(
      ({ attempt, outcome, finishedAt, error: failure }): Fact => [
        `attempt ${attempt}`,
        `${outcome} ${shownTime(finishedAt) ?? ''}${failure === null ? '' : ` ${failure.code ?? failure.class}: ${failure.message}`}`,
      ],
    ),
  ])
}
