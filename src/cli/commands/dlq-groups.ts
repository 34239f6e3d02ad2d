import { listDeadLetterGroups, MOST_KEYS, type DeadLetterGroup } from '../../dead-letter/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, LIST_OPTIONS } from '../options.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'
import {
  given,
  NO_GROUP,
  nothingOpen,
  SCOPE_OPTIONS,
  scopeOf,
  STATE_OPTION,
  stateOf,
} from './dlq-filter.ts'

const COLUMNS: readonly Column<DeadLetterGroup>[] = [
  { name: 'group', of: ({ fingerprint }) => fingerprint ?? NO_GROUP },
  { name: 'count', of: ({ count }) => count, align: 'right' },
  { name: '1h', of: ({ lastHour }) => lastHour, align: 'right' },
  {
    name: 'keys',
    of: ({ keys }) => (keys >= MOST_KEYS ? `${MOST_KEYS}+` : keys),
    align: 'right',
  },
  { name: 'app', of: ({ applications }) => applications.join(','), least: 4 },
  { name: 'handler', of: ({ handlers }) => handlers.join(','), least: 4 },
  { name: 'stage', of: ({ stages }) => stages.join(','), hidden: true },
  { name: 'first', of: ({ firstSeen }) => shownTime(firstSeen), hidden: true },
  { name: 'last', of: ({ lastSeen }) => shownTime(lastSeen), least: 10 },
  { name: 'versions', of: ({ codeVersions }) => codeVersions.join(','), least: 5 },
  { name: 'example', of: ({ exampleId }) => exampleId, align: 'right', hidden: true },
  { name: 'error', of: ({ error }) => `${error.code ?? error.class}: ${error.message}`, least: 12 },
]

/** `millrace dlq groups` */
export const dlqGroupsCommand: Command = {
  summary: 'dead letters by what caused them',
  options: {
    ...SCOPE_OPTIONS,
    ...STATE_OPTION,
    sort: {
      type: 'string',
      value: '<order>',
      help: 'count (default): the largest first; newest: the one that failed last',
    },
    ...LIST_OPTIONS,
    limit: {
      type: 'string',
      short: 'n',
      value: '<n>',
      help: 'at most this many groups (default 50, 1 … 1000)',
    },
    ...DATABASE_OPTIONS,
  },
  notes: [
    'Those of one group failed at the same handler and stage, with the same error but for ids, numbers, times and quoted text.',
    `Columns: ${COLUMNS.map(({ name }) => name).join(', ')}. 1h: failed within the last hour, also in a replay. keys: counted up to ${MOST_KEYS}.`,
  ],
  examples: ['millrace dlq groups', 'millrace dlq groups --app search --since 1h --sort newest'],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, COLUMNS)
    const scope = scopeOf(args)
    const limit = args.whole('limit', 1, 1_000) ?? 50
    const state = stateOf(args)
    const filter = given({ ...scope, state, limit, sort: args.word('sort', ['count', 'newest']) })
    return withOperator(context, {}, async ({ operator }) => {
      const { items, groups, letters } = await listDeadLetterGroups(operator.pool, filter)
      if (out.format === 'json') {
        out.json({ items, groups, letters })
        return EXIT.ok
      }
      const otherwise =
        Object.keys(scope).length > 0 || state !== 'open'
          ? 'no dead letters that fit. Fewer conditions, or another --state, show more.'
          : 'no dead letters. Records and jobs that fail for good are set aside here, and grouped by what caused it.'
      const empty =
        items.length === 0 && state === 'open'
          ? await nothingOpen(operator.pool, scope, { command: 'dlq groups', otherwise })
          : otherwise
      await out.list(columns, { items, more: null }, (item) => item, empty)
      if (groups > items.length)
        out.note(
          `${groups - items.length} more groups; ${letters} dead letters in all. See --limit.`,
        )
      const [first] = items
      if (first !== undefined && out.format === 'text')
        out.note(`next: millrace dlq sample --group ${first.fingerprint ?? NO_GROUP}`)
      return EXIT.ok
    })
  },
}
