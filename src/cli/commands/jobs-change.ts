import {
  cancelJobs,
  getJob,
  retryJobs,
  type JobOrder,
  type JobSummary,
  type OrderResult,
} from '../../jobs/queries.ts'
import type { Operator } from '../../app/operator.ts'
import type { Command, CommandContext } from '../command.ts'
import { confirmMany, CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { CliError, usage } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS, type OptionSet } from '../options.ts'
import { chosenJobs, JOB_FILTER_OPTIONS, jobChoice, jobId, type JobChoice } from './job-filter.ts'

/** Jobs of one transaction. */
const STEP = 500

const OPTIONS: OptionSet = {
  ...JOB_FILTER_OPTIONS,
  ...CONFIRM_OPTIONS,
  ...ORDER_OPTIONS,
  ...JSON_OPTION,
  ...DATABASE_OPTIONS,
}

/** What is done to jobs, and which states it is meant for. */
interface Order {
  readonly verb: 'retry' | 'cancel'
  readonly done: string
  /** States that a filter without `--state` looks for. */
  readonly states: readonly JobSummary['state'][]
  /** States in which it can be done. */
  readonly possible: readonly JobSummary['state'][]
  give(operator: Operator, ids: readonly string[], order: JobOrder): Promise<OrderResult>
}

const RETRY: Order = {
  verb: 'retry',
  done: 'retried',
  states: ['discarded'],
  possible: ['discarded', 'cancelled', 'retryable', 'scheduled'],
  give: (operator, ids, order) => retryJobs(operator, ids, order),
}

const CANCEL: Order = {
  verb: 'cancel',
  done: 'cancelled',
  states: ['available', 'scheduled', 'retryable', 'suspended', 'executing'],
  possible: ['available', 'scheduled', 'retryable', 'suspended', 'executing'],
  give: (operator, ids, order) => cancelJobs(operator, ids, order),
}

/** `millrace jobs retry` */
export const jobsRetryCommand: Command = {
  summary: 'make jobs available again, now',
  usage: '[id…]',
  positionals: { min: 0, max: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  notes: [
    'Jobs by id, or by conditions; without --state the discarded ones.',
    'Possible for discarded, cancelled, retryable and scheduled jobs. Exit 4: some could not be retried.',
  ],
  examples: [
    'millrace jobs retry 01a205a0-d634-7000-955f-4261d11b89c8',
    'millrace jobs retry --kind search.index-product --since 1h --dry-run',
  ],
  run: (context) => runOrder(context, RETRY),
}

/** `millrace jobs cancel` */
export const jobsCancelCommand: Command = {
  summary: 'stop jobs on purpose',
  usage: '[id…]',
  positionals: { min: 0, max: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  notes: [
    'Jobs by id, or by conditions; without --state all that are not finished.',
    'An executing job is asked: its signal is aborted, and it is cancelled when its handler ends. Exit 4: some could not be cancelled.',
  ],
  examples: ['millrace jobs cancel --kind report.build --queue reports --dry-run'],
  run: (context) => runOrder(context, CANCEL),
}

/** A job to be changed, with the state it was found in; undefined: not looked at. */
interface Chosen {
  readonly id: string
  readonly state?: JobSummary['state']
}

async function runOrder(context: CommandContext, order: Order): Promise<ExitCode> {
  const { args } = context
  const ids = [...new Set(args.positionals.map(jobId))]
  const choice = jobChoice(args)
  if (ids.length > 0 && choice.narrowed)
    throw usage('name jobs by id, or by conditions; not by both')
  if (ids.length === 0 && !choice.narrowed) {
    throw usage('which jobs? Give ids, or conditions as --kind, --queue, --app, --state')
  }
  return withOperator(context, { writes: true }, async ({ operator }) => {
    const chosen = (): AsyncIterable<readonly Chosen[]> =>
      ids.length > 0 ? steps(ids) : fitting(operator, choice, order)
    if (args.flag('dry-run'))
      return report(context, order, await pretend(operator, order, chosen()), true)
    const count = ids.length > 0 ? ids.length : await countUp(context, chosen())
    await confirmMany(context, count, `${order.verb} ${count} jobs`)
    const ordered = {
      user: operator.user,
      reason: args.text('reason'),
      filter: ids.length > 0 ? undefined : { ...choice.filter, oldest: choice.oldest },
    }
    return report(
      context,
      order,
      await carryOut(context, operator, order, chosen(), ordered),
      false,
    )
  })
}

async function* steps(ids: readonly string[]): AsyncGenerator<readonly Chosen[], void, void> {
  for (let at = 0; at < ids.length; at += STEP) yield ids.slice(at, at + STEP).map((id) => ({ id }))
}

/** The jobs that fit, a step at a time, new to old. What is made meanwhile is not among them. */
async function* fitting(
  operator: Operator,
  choice: JobChoice,
  { states }: Order,
): AsyncGenerator<readonly Chosen[], void, void> {
  const { state } = choice.filter
  for (const one of state === undefined ? states : [state]) {
    let after = choice.filter.after
    for (;;) {
      const filter = { ...choice.filter, state: one, ...(after === undefined ? {} : { after }) }
      const { jobs, next } = await chosenJobs(operator, { ...choice, filter }, STEP)
      if (jobs.length > 0) yield jobs
      if (next === null) break
      after = next
    }
  }
}

/** How many there are; no further than needed when the number need not be shown. */
async function countUp(
  { args }: CommandContext,
  chosen: AsyncIterable<readonly Chosen[]>,
): Promise<number> {
  if (args.flag('yes')) return 0
  let count = 0
  for await (const step of chosen) count += step.length
  return count
}

async function carryOut(
  { out }: CommandContext,
  operator: Operator,
  order: Order,
  chosen: AsyncIterable<readonly Chosen[]>,
  ordered: JobOrder,
): Promise<OrderResult> {
  const changed: string[] = []
  const asked: string[] = []
  const refused: OrderResult['refused'][number][] = []
  try {
    for await (const step of chosen) {
      const ids = step.map(({ id }) => id)
      const filter = ordered.filter ?? { ids }
      const result = await order.give(operator, ids, { ...ordered, filter })
      changed.push(...result.changed)
      asked.push(...result.asked)
      refused.push(...result.refused)
    }
  } catch (error) {
    const done = changed.length + asked.length
    if (done > 0) out.note(`${order.done} ${done} before what follows; that stays`)
    throw error
  }
  return { changed, asked, refused }
}

/** What would become of each job, by the state it is in now. */
async function pretend(
  operator: Operator,
  order: Order,
  chosen: AsyncIterable<readonly Chosen[]>,
): Promise<OrderResult> {
  const changed: string[] = []
  const asked: string[] = []
  const refused: OrderResult['refused'][number][] = []
  for await (const step of chosen) {
    for (const { id, state: known } of step) {
      const state = known ?? (await getJob(operator.pool, id))?.state ?? null
      if (state === null || !order.possible.includes(state)) refused.push({ id, state })
      else if (state === 'executing') asked.push(id)
      else changed.push(id)
    }
  }
  return { changed, asked, refused }
}

function report(
  { out }: CommandContext,
  order: Order,
  result: OrderResult,
  dryRun: boolean,
): ExitCode {
  const { changed, asked, refused } = result
  const rows = [
    ...changed.map((id) => ({ id, result: dryRun ? `would be ${order.done}` : order.done })),
    ...asked.map((id) => ({ id, result: 'asked to end' })),
    ...refused.map(({ id, state }) => ({
      id,
      result: state === null ? 'not found' : `refused: ${state}`,
    })),
  ]
  if (out.format === 'json') {
    out.json({ dryRun, changed, asked, refused })
  } else if (rows.length === 0) {
    out.note(`no jobs that fit; nothing to ${order.verb}`)
  } else {
    out.table(
      [
        { name: 'id', of: (row) => row.id },
        { name: 'result', of: (row) => row.result },
      ],
      rows,
    )
  }
  const good = changed.length + asked.length
  if (rows.length > 0)
    out.note(
      `${dryRun ? 'would be ' : ''}${order.done} ${changed.length}${asked.length > 0 ? `, asked ${asked.length}` : ''}, refused ${refused.length}`,
    )
  if (refused.length === 0) return EXIT.ok
  if (good > 0) return EXIT.partial
  const missing = refused.every(({ state }) => state === null)
  if (missing)
    throw new CliError(
      'E_CLI_NOT_FOUND',
      `no job of ${refused.length === 1 ? 'this id' : 'these ids'}`,
      { next: 'millrace jobs list' },
    )
  return EXIT.failed
}
