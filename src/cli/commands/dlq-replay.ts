import { countReplay, orderReplay } from '../../replay/queries.ts'
import type { Command } from '../command.ts'
import { confirmMany, CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, LIST_OPTIONS, ORDER_OPTIONS } from '../options.ts'
import { followReplay, progressOf } from './follow-replay.ts'
import { countedLetters } from './dlq-filter.ts'
import { SELECTION_OPTIONS, selectionOf } from './dlq-selection.ts'
import { PACE_OPTIONS, paceOf, REHEARSAL_OPTION } from './replay-pace.ts'

/** `millrace dlq replay` */
export const dlqReplayCommand: Command = {
  summary: 'let the application work through its dead letters again',
  usage: '[<number>…]',
  positionals: { min: 0, max: 1_000 },
  options: {
    ...SELECTION_OPTIONS,
    ...PACE_OPTIONS,
    'max-replays': {
      type: 'string',
      value: '<n>',
      help: 'park what has failed in so many replays (default 3)',
    },
    ...CONFIRM_OPTIONS,
    ...ORDER_OPTIONS,
    ...REHEARSAL_OPTION,
    ...pick(LIST_OPTIONS, 'json', 'jsonl'),
    ...DATABASE_OPTIONS,
  },
  notes: [
    'The application itself does it, with the handlers that are deployed now, in the order of the numbers, each at most once.',
    'What came after the order is not worked on. A process that is killed is followed by another one, where it was.',
    'A dry run executes no jobs. What handlers do outside of the transaction is not rolled back.',
    '--where and --text choose what `millrace dlq search` finds: by what was set aside and its last error, not by edits.',
    'Exit 4: some failed again, or it was paused or stopped.',
  ],
  examples: [
    'millrace dlq replay --app search --from 1200',
    'millrace dlq replay --app mail --group 3f2a9c0d11e45b67 --dry-run',
    'millrace dlq replay --app billing --where data.currency=GBP --dry-run',
    'millrace dlq replay --app mail --canary 20 --rate 200 --stop-after 1% --reason "fixed in 1.4.3"',
  ],
  run(context) {
    const { args, out } = context
    const maxReplays = args.whole('max-replays', 1, 1_000)
    const pace = { ...paceOf(args), ...(maxReplays === undefined ? {} : { maxReplays }) }
    return withOperator(context, { writes: true }, async ({ operator }) => {
      const selection = await selectionOf(args, operator.pool)
      const count = await countReplay(operator.pool, selection)
      if (count === 0n) {
        if (out.format === 'json') out.json(null)
        out.note(
          'nothing to replay: no open dead letter fits. See `millrace dlq groups`; --parked also takes those that have failed too often.',
        )
        return EXIT.ok
      }
      const dryRun = args.flag('dry-run')
      if (!dryRun) await confirmMany(context, Number(count), `replay ${countedLetters(count)}`)
      const reason = args.text('reason')
      const replay = await orderReplay(operator, { selection, ...pace, dryRun, reason })
      out.note(`replay ${replay.id}: ${countedLetters(count)}${dryRun ? ', as a dry run' : ''}`)
      if (!args.flag('detach')) return followReplay(context, operator, replay)
      if (out.format === 'text') out.text(`replay ${replay.id} is ordered`)
      else out.json(progressOf(replay))
      return EXIT.ok
    })
  },
}

function pick<T extends object, K extends keyof T>(from: T, ...keys: K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, from[key]])) as Pick<T, K>
}
