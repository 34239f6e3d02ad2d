import {
  changeOf,
  editDeadLetters,
  NO_EDITS,
  seenSoFar,
  type ManyEdits,
  type ValueChange,
} from '../../dead-letter/queries.ts'
import { isMillraceError } from '../../errors/millrace-error.ts'
import { countReplay } from '../../replay/queries.ts'
import type { CommandContext } from '../command.ts'
import { confirmMany } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import type { Arguments, OptionSet } from '../options.ts'
import { changesOf, showChanges } from '../value-changes.ts'
import { countedLetters } from './dlq-filter.ts'
import { selectionOf } from './dlq-selection.ts'

/** So many are shown in a dry run. */
const SHOWN = 3

/** What is to become of the values of many. */
export const CHANGE_OPTIONS: OptionSet = {
  set: {
    type: 'string',
    value: '<place=JSON>',
    repeats: true,
    help: `in the values of many: data.currency='"EUR"', data.items[].amount=1; may be repeated`,
  },
  unset: {
    type: 'string',
    value: '<place>',
    repeats: true,
    help: 'takes a name out of the values of many: data.items[].note; may be repeated',
  },
}

/** In the order in which they are told. */
const LEFT_OUT: Readonly<Record<Exclude<keyof ManyEdits, 'edited'>, string>> = {
  unchanged: 'are so already',
  notJson: 'are no JSON',
  noPlace: 'have no such place',
  tooLarge: 'are larger than 1 MiB',
  jobs: 'are jobs, whose args stay as they are',
}

/**
 * What {@link CHANGE_OPTIONS} said; undefined: nothing.
 * @throws E_CLI_USAGE
 */
export function changeAsked(args: Arguments): ValueChange | undefined {
  const change = { set: args.texts('set'), unset: args.texts('unset') }
  if (change.set.length + change.unset.length === 0) return undefined
  if (args.flag('value') || args.flag('file'))
    throw usage('either the whole value of one, or --set and --unset')
  try {
    changeOf(change)
  } catch (error) {
    throw isMillraceError(error) ? usage(error.message) : error
  }
  return change
}

/** `millrace dlq edit` with {@link CHANGE_OPTIONS} */
export function editMany(context: CommandContext, change: ValueChange): Promise<ExitCode> {
  const { args, out } = context
  const dryRun = args.flag('dry-run')
  return withOperator(context, { writes: true }, async ({ operator }) => {
    const selection = await selectionOf(args, operator.pool)
    const seen = await seenSoFar(operator.pool)
    const count = Number(await countReplay(operator.pool, selection))
    if (count === 0) {
      if (out.format === 'json') out.json({ dryRun, count, ...NO_EDITS })
      out.note('nothing to edit: no open dead letter fits')
      return EXIT.ok
    }
    if (!dryRun) await confirmMany(context, count, `edit up to ${countedLetters(count)}`)
    let shown = 0
    const show = (id: bigint, before: Uint8Array, after: Uint8Array): boolean => {
      out.styled(`dead letter ${id}`)
      showChanges(out, changesOf(before, after))
      shown += 1
      return shown < SHOWN
    }
    const reason = args.text('reason')
    const done = await editDeadLetters(operator, selection, {
      change,
      reason,
      seen,
      dryRun,
      ...(out.format === 'text' ? { show } : {}),
    })
    if (out.format === 'json') out.json({ dryRun, count, ...done })
    out.note(dryRun ? `${done.edited} would be edited` : `${done.edited} edited`)
    for (const [outcome, words] of Object.entries(LEFT_OUT)) {
      const left = done[outcome as keyof ManyEdits]
      if (left > 0) out.note(`${left} left as they are: they ${words}`)
    }
    return EXIT.ok
  })
}
