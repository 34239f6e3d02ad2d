import { orderRecordsReplay, planRecordsReplay } from '../../replay/queries.ts'
import type { Command } from '../command.ts'
import { confirmMany, CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, LIST_OPTIONS, ORDER_OPTIONS, type Arguments } from '../options.ts'
import { placeOf } from '../place.ts'
import { followReplay, progressOf } from './follow-replay.ts'
import { PACE_OPTIONS, paceOf, REHEARSAL_OPTION } from './replay-pace.ts'

/** `millrace replays create` */
export const replaysCreateCommand: Command = {
  summary: 'hand past records of a topic to one handler again',
  options: {
    app: { type: 'string', value: '<name>', help: 'the application (needed)' },
    handler: { type: 'string', value: '<name>', help: 'the one handler that gets them (needed)' },
    topic: { type: 'string', value: '<topic>', help: 'of this topic (needed)' },
    partition: { type: 'string', value: '<n>', help: 'only of this partition' },
    from: {
      type: 'string',
      value: '<where>',
      help: 'from here on: beginning (default), 2h, ISO 8601, or an offset',
    },
    to: { type: 'string', value: '<where>', help: 'before this place (default end: as it is now)' },
    ...PACE_OPTIONS,
    ...CONFIRM_OPTIONS,
    ...ORDER_OPTIONS,
    ...REHEARSAL_OPTION,
    json: LIST_OPTIONS['json'] as never,
    jsonl: LIST_OPTIONS['jsonl'] as never,
    ...DATABASE_OPTIONS,
  },
  notes: [
    "At positions of its own, thrown away afterwards; the application's positions stay where they are. Other handlers see nothing.",
    'What happened the first time happens again: new jobs, new effects, on purpose. What fails becomes a dead letter.',
    'What handlers do outside of the transaction of a dry run is not rolled back.',
  ],
  examples: [
    'millrace replays create --app search --handler ITEM_LISTED --topic products --from 2h --dry-run',
    'millrace replays create --app search --handler ITEM_LISTED --topic products --partition 3 --from 4711 --to 5000',
  ],
  run(context) {
    const { args, out, core } = context
    const order = {
      application: needed(args, 'app'),
      handler: needed(args, 'handler'),
      topic: needed(args, 'topic'),
      partition: args.whole('partition', 0, 1_000_000),
      from: placeOf(args, 'from', core.clock),
      to: placeOf(args, 'to', core.clock),
      ...paceOf(args),
    }
    return withOperator(context, { config: 'if-there', writes: true }, async ({ operator }) => {
      const plan = await planRecordsReplay(await operator.log(), order)
      const count = plan.total
      if (count === 0n) {
        if (out.format === 'json') out.json(null)
        out.note('nothing to replay: there are no records in that range')
        return EXIT.ok
      }
      const dryRun = args.flag('dry-run')
      if (!dryRun) {
        const what = `hand ${count} past records to ${order.handler} of ${order.application} again`
        await confirmMany(context, Number(count), what)
      }
      const reason = args.text('reason')
      const replay = await orderRecordsReplay(operator, { ...order, dryRun, reason }, plan)
      out.note(`replay ${replay.id}: ${count} past records${dryRun ? ', as a dry run' : ''}`)
      if (!args.flag('detach')) return followReplay(context, operator, replay)
      if (out.format === 'text') out.text(`replay ${replay.id} is ordered`)
      else out.json(progressOf(replay))
      return EXIT.ok
    })
  },
}

function needed(args: Arguments, name: string): string {
  const text = args.text(name)
  if (text === undefined || text === '') throw usage(`which ${name}? --${name} <name>`)
  return text
}
