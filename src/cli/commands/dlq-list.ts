import {
  listDeadLetters,
  type DeadLetterFilter,
  type DeadLetterSummary,
} from '../../dead-letter/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, PAGE_OPTIONS, type Arguments } from '../options.ts'
import { pageLimits, toPage } from '../page.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'
import {
  deadLetterId,
  given,
  GROUP_OPTION,
  groupOf,
  nothingOpen,
  SCOPE_OPTIONS,
  scopeOf,
  STATE_OR_ALL_OPTION,
  stateOrAllOf,
} from './dlq-filter.ts'

/** Of every list of dead letters. */
export const DEAD_LETTER_COLUMNS: readonly Column<DeadLetterSummary>[] = [
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
  { name: 'replays', of: (d) => d.replays, align: 'right', hidden: true },
  { name: 'failed-at', of: (d) => shownTime(d.failedAt), hidden: true },
  { name: 'code-version', of: (d) => d.codeVersion, hidden: true },
]

/** `millrace dlq list` */
export const dlqListCommand: Command = {
  summary: 'dead letters, newest first',
  options: {
    ...GROUP_OPTION,
    ...SCOPE_OPTIONS,
    ...STATE_OR_ALL_OPTION,
    ...PAGE_OPTIONS,
    ...DATABASE_OPTIONS,
  },
  notes: [`Columns: ${DEAD_LETTER_COLUMNS.map(({ name }) => name).join(', ')}.`],
  examples: [
    'millrace dlq list --app search --since 1h',
    'millrace dlq list --group 00f1e2d3c4b5a697',
    'millrace dlq list --jsonl | jq .error.message',
  ],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, DEAD_LETTER_COLUMNS)
    const limits = pageLimits(args)
    const filter = filterOf(args)
    return withOperator(context, {}, async ({ operator }) => {
      const found = await listDeadLetters(operator.pool, { ...filter, limit: limits.asked })
      const narrowed = Object.keys(filter).some((name) => name !== 'state')
      const otherwise = narrowed
        ? 'no dead letters that fit. Fewer conditions, or --state all, show more.'
        : 'no dead letters. Records and jobs that fail for good are set aside here, with their bytes and their error.'
      const empty =
        found.length === 0 && filter.state === 'open' && filter.before === undefined
          ? await nothingOpen(operator.pool, filter, { command: 'dlq list', otherwise })
          : otherwise
      await out.list(
        columns,
        toPage(found, limits, ({ id }) => String(id)),
        (item) => item,
        empty,
      )
      return EXIT.ok
    })
  },
}

function filterOf(args: Arguments): DeadLetterFilter {
  const group = args.text('group')
  return given({
    ...scopeOf(args),
    fingerprint: group === undefined ? undefined : groupOf(group),
    state: stateOrAllOf(args),
    before: deadLetterId(args.text('before')),
  })
}

/** Where in the log the record stands: `orders/3@42`. */
export function originOf({ topic, partition, offset }: DeadLetterSummary): string | null {
  return topic === null ? null : `${topic}/${partition ?? '?'}@${offset ?? '?'}`
}
