import {
  listDeadLetters,
  type DeadLetterFilter,
  type DeadLetterSummary,
} from '../../dead-letter/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, PAGE_OPTIONS, TIME_OPTIONS, type Arguments } from '../options.ts'
import { pageLimits, toPage } from '../page.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'

const COLUMNS: readonly Column<DeadLetterSummary>[] = [
  { name: 'id', of: (d) => d.id, align: 'right' },
  { name: 'created', of: (d) => shownTime(d.createdAt) },
  { name: 'app', of: (d) => d.application },
  { name: 'handler', of: (d) => d.handler, least: 8 },
  { name: 'stage', of: (d) => d.stage },
  { name: 'origin', of: originOf, least: 10 },
  { name: 'type', of: (d) => d.eventType ?? d.kind, least: 8 },
  { name: 'attempts', of: (d) => d.attempts, align: 'right' },
  { name: 'error', of: (d) => `${d.error.code ?? d.error.class}: ${d.error.message}`, least: 16 },
  { name: 'state', of: (d) => d.state, hidden: true },
  { name: 'fingerprint', of: (d) => d.fingerprint, hidden: true },
  { name: 'event-id', of: (d) => d.eventId, hidden: true },
  { name: 'job-id', of: (d) => d.jobId, hidden: true },
  { name: 'code-version', of: (d) => d.codeVersion, hidden: true },
]

/** `millrace dlq list` */
export const dlqListCommand: Command = {
  summary: 'dead letters, newest first',
  options: {
    app: { type: 'string', value: '<name>', help: 'only of this application' },
    handler: { type: 'string', value: '<name>', help: 'only of this handler' },
    stage: {
      type: 'string',
      value: '<stage>',
      help: 'only from here: decode, validate, prepare, apply, job',
    },
    topic: { type: 'string', value: '<topic>', help: 'only records of this topic' },
    state: {
      type: 'string',
      value: '<state>',
      help: 'open (default), replayed, discarded, parked, all',
    },
    ...TIME_OPTIONS,
    ...PAGE_OPTIONS,
    ...DATABASE_OPTIONS,
  },
  notes: [`Columns: ${COLUMNS.map(({ name }) => name).join(', ')}.`],
  examples: [
    'millrace dlq list --app search --since 1h',
    'millrace dlq list --jsonl | jq .error.message',
  ],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, COLUMNS)
    const limits = pageLimits(args)
    const filter = filterOf(args)
    return withOperator(context, {}, async ({ operator }) => {
      const given = await listDeadLetters(operator.pool, { ...filter, limit: limits.asked })
      const narrowed = Object.keys(filter).some((name) => name !== 'state')
      const empty = narrowed
        ? 'no dead letters that fit. Fewer conditions, or --state all, show more.'
        : 'no dead letters. Records and jobs that fail for good are set aside here, with their bytes and their error.'
      await out.list(
        columns,
        toPage(given, limits, ({ id }) => String(id)),
        (item) => item,
        empty,
      )
      return EXIT.ok
    })
  },
}

function filterOf(args: Arguments): DeadLetterFilter {
  const stage = args.word('stage', ['decode', 'validate', 'prepare', 'apply', 'job'])
  const state = args.word('state', ['open', 'replayed', 'discarded', 'parked', 'all']) ?? 'open'
  const found = {
    application: args.text('app'),
    handler: args.text('handler'),
    stage,
    topic: args.text('topic'),
    state: state === 'all' ? undefined : state,
    since: args.time('since'),
    until: args.time('until'),
    before: deadLetterId(args.text('before')),
  }
  return Object.fromEntries(
    Object.entries(found).filter(([, value]) => value !== undefined),
  ) as DeadLetterFilter
}

/** @throws E_CLI_USAGE when `text` is no number of a dead letter. */
export function deadLetterId(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,18}$/.test(text))
    throw usage(`expected the number of a dead letter, got '${text}'`, 'millrace dlq list')
  return BigInt(text)
}

/** Where in the log the record stands: `orders/3@42`. */
export function originOf({ topic, partition, offset }: DeadLetterSummary): string | null {
  return topic === null ? null : `${topic}/${partition ?? '?'}@${offset ?? '?'}`
}
