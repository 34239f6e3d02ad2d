import { parseCondition, searchDeadLetters } from '../../dead-letter/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, PAGE_OPTIONS } from '../options.ts'
import {
  CARRIED_OPTIONS,
  carriedOf,
  deadLetterId,
  given,
  GROUP_OPTION,
  groupOf,
  SCOPE_OPTIONS,
  scopeOf,
  STATE_OR_ALL_OPTION,
  stateOrAllOf,
} from './dlq-filter.ts'
import { DEAD_LETTER_COLUMNS } from './dlq-list.ts'

/** `millrace dlq search` */
export const dlqSearchCommand: Command = {
  summary: 'dead letters by what they carry, and by what their error says',
  options: {
    ...CARRIED_OPTIONS,
    look: {
      type: 'string',
      value: '<n>',
      help: 'look at no more than this many (default 100000, 1 … 10000000)',
    },
    ...GROUP_OPTION,
    ...SCOPE_OPTIONS,
    ...STATE_OR_ALL_OPTION,
    ...PAGE_OPTIONS,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'data is the JSON of the record, args that of the job. What is no JSON, or has more than 1 MiB, does not match.',
    'items[] is any place of a list, items[0] the first; data["a.b"] is a name with a dot.',
  ],
  examples: [
    'millrace dlq search --where data.currency=GBP --app billing --since 1d',
    'millrace dlq search --text "no price" --group 00f1e2d3c4b5a697',
  ],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, DEAD_LETTER_COLUMNS)
    const group = args.text('group')
    const { where, text } = carriedOf(args)
    if (where === undefined && text === undefined)
      throw usage('what for? --where <place=value>, or --text <text>', 'millrace dlq list')
    const search = given({
      ...scopeOf(args),
      where: where === undefined ? undefined : parseCondition(where),
      text,
      look: args.whole('look', 1, 10_000_000),
      fingerprint: group === undefined ? undefined : groupOf(group),
      state: stateOrAllOf(args),
      before: deadLetterId(args.text('before')),
      limit: args.whole('limit', 1, 1_000) ?? 50,
    })
    return withOperator(context, {}, async ({ operator }) => {
      const { items, before, ...looked } = await searchDeadLetters(operator.pool, search)
      if (out.format === 'json') {
        out.json({ items, ...looked, more: before })
        return EXIT.ok
      }
      const more = before === null ? null : String(before)
      const empty = 'nothing of what was looked at matches.'
      await out.list(columns, { items, more }, (item) => item, empty)
      out.note(
        [
          `looked at ${looked.looked}`,
          ...(looked.notJson > 0 ? [`${looked.notJson} carry no JSON there`] : []),
          ...(looked.tooLarge > 0 ? [`${looked.tooLarge} are too large to look into`] : []),
        ].join('; '),
      )
      return EXIT.ok
    })
  },
}
