import { listActions, type ActionFilter, type NotedAction } from '../../control/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, PAGE_OPTIONS, TIME_OPTIONS, type Arguments } from '../options.ts'
import { pageLimits, toPage } from '../page.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'

const COLUMNS: readonly Column<NotedAction>[] = [
  { name: 'id', of: (one) => one.id, align: 'right' },
  { name: 'at', of: (one) => shownTime(one.at) },
  { name: 'operator', of: (one) => one.operator, least: 8 },
  { name: 'action', of: (one) => one.action },
  { name: 'count', of: (one) => one.count, align: 'right' },
  { name: 'filter', of: (one) => JSON.stringify(one.filter), least: 12 },
  { name: 'reason', of: (one) => one.reason, least: 8 },
  { name: 'detail', of: (one) => shownJson(one.detail), hidden: true },
]

/** `millrace audit list` */
export const auditListCommand: Command = {
  summary: 'what operators did, newest first: who, what, how many, and why',
  options: {
    operator: {
      type: 'string',
      value: '<name>',
      help: 'only by this one, as it is kept: ana@host',
    },
    action: {
      type: 'string',
      value: '<action>',
      help: 'only this one, such as jobs.retry; or all of a group, such as jobs',
    },
    ...TIME_OPTIONS,
    ...PAGE_OPTIONS,
    ...DATABASE_OPTIONS,
  },
  notes: [
    `Columns: ${COLUMNS.map(({ name }) => name).join(', ')}.`,
    'Each is written in the transaction that does it, so one is not there without the other. detail: what became of each.',
  ],
  examples: [
    'millrace audit list --since 1d',
    'millrace audit list --action consumers.seek --json',
    'millrace audit list --operator ana@host --columns at,action,filter,detail',
  ],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, COLUMNS)
    const limits = pageLimits(args)
    const filter = filterOf(args)
    return withOperator(context, {}, async ({ operator }) => {
      const given = await listActions(operator.pool, { ...filter, limit: limits.asked })
      const empty =
        Object.keys(filter).length > 0
          ? 'nothing that fits. Fewer conditions show more.'
          : 'nobody has done anything yet. What the command line changes is kept here: pauses, seeks, retries, replays.'
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

function filterOf(args: Arguments): ActionFilter {
  const before = args.text('before')
  if (before !== undefined && !/^\d{1,18}$/.test(before))
    throw usage(`--before: expected the number of an action, got '${before}'`)
  const found = {
    operator: args.text('operator'),
    action: args.text('action'),
    since: args.time('since'),
    until: args.time('until'),
    before: before === undefined ? undefined : BigInt(before),
  }
  return Object.fromEntries(
    Object.entries(found).filter(([, value]) => value !== undefined),
  ) as ActionFilter
}

function shownJson(value: unknown): string | null {
  return value === null || value === undefined ? null : JSON.stringify(value)
}
