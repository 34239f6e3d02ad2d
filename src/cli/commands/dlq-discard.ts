import { discardDeadLetters, seenSoFar } from '../../dead-letter/queries.ts'
import { countReplay } from '../../replay/queries.ts'
import type { Command } from '../command.ts'
import { confirmMany, CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS } from '../options.ts'
import { countedLetters } from './dlq-filter.ts'
import { SELECTION_OPTIONS, selectionOf } from './dlq-selection.ts'

/** `millrace dlq discard` */
export const dlqDiscardCommand: Command = {
  summary: 'close dead letters that nobody needs, with a reason',
  usage: '[<number>…]',
  positionals: { min: 0, max: 1_000 },
  options: {
    ...SELECTION_OPTIONS,
    ...CONFIRM_OPTIONS,
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'Bytes, error and history stay; they are only not open, and not replayed, any more. --reason is needed.',
  ],
  examples: [
    'millrace dlq discard --app mail --group 3f2a9c0d11e45b67 --reason "test data of 12 November"',
    'millrace dlq discard --app billing --where header.tenant=old --dry-run',
  ],
  run(context) {
    const { args, out } = context
    const reason = args.text('reason')?.trim() ?? ''
    const dryRun = args.flag('dry-run')
    if (reason === '' && !dryRun)
      throw usage('why? --reason <text> is kept with what was discarded')
    return withOperator(context, { writes: true }, async ({ operator }) => {
      const selection = await selectionOf(args, operator.pool)
      const seen = await seenSoFar(operator.pool)
      const count = Number(await countReplay(operator.pool, selection))
      if (!dryRun && count > 0)
        await confirmMany(context, count, `discard ${countedLetters(count)}`)
      const discarded =
        dryRun || count === 0 ? 0 : await discardDeadLetters(operator, selection, { reason, seen })
      if (out.format === 'json') out.json({ dryRun, count, discarded })
      out.note(
        count === 0
          ? 'nothing to discard: no open dead letter fits'
          : dryRun
            ? `${count} would be discarded`
            : `${discarded} discarded`,
      )
      return EXIT.ok
    })
  },
}
