import {
  nothingMoved,
  planSeek,
  seekConsumers,
  type PositionMove,
  type SeekPlan,
} from '../../consumer/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { confirmMany, CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import type { ExitCode } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS } from '../options.ts'
import { placeOf } from '../place.ts'
import type { Column } from '../table.ts'
import { consumerScope, noteRefused, SCOPE_OPTIONS } from './consumer-scope.ts'

const COLUMNS: readonly Column<PositionMove>[] = [
  { name: 'topic', of: (move) => move.topic, least: 12 },
  { name: 'partition', of: (move) => move.partition, align: 'right' },
  { name: 'position', of: (move) => move.position, align: 'right' },
  { name: 'to', of: (move) => move.to, align: 'right' },
  { name: 're-read', of: (move) => move.reread, align: 'right' },
  { name: 'skipped', of: (move) => move.skipped, align: 'right' },
]

/** `millrace consumers seek` */
export const consumersSeekCommand: Command = {
  summary: 'move an application to another place in a topic',
  options: {
    ...SCOPE_OPTIONS,
    to: {
      type: 'string',
      value: '<where>',
      help: 'beginning, end, 2h, ISO 8601, or an offset',
    },
    ...CONFIRM_OPTIONS,
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'What is read again makes new jobs, with new idempotency keys: that is on purpose. What is skipped is never read.',
    'Works while the application runs, and while it does not. Numbers count offsets, so holes count. Exit 4: some were refused.',
  ],
  examples: [
    'millrace consumers seek --app search --topic products --to 2h --dry-run',
    'millrace consumers seek --app search --topic products --partition 3 --to 4711 --reason "one bad record"',
  ],
  async run(context) {
    const { args, core } = context
    const scope = consumerScope(args)
    const { topic } = scope
    if (topic === undefined) throw usage('which topic? --topic <topic>')
    const target = placeOf(args, 'to', core.clock)
    if (target === undefined) throw usage('where to? --to beginning, end, 2h or an offset')
    return withOperator(context, { config: 'if-there', writes: true }, async ({ operator }) => {
      const plan = await planSeek(operator, { ...scope, topic }, target)
      if (plan.moves.length === 0) throw nothingMoved(plan.refused)
      if (args.flag('dry-run')) return report(context, plan, true)
      const { reread, skipped } = sums(plan.moves)
      const count = Number(reread + skipped)
      await confirmMany(context, count, `read ${reread} records again and skip ${skipped}`)
      const reason = args.text('reason')
      const done = await seekConsumers(operator, plan, { reason })
      return report(context, done, false)
    })
  },
}

function report(
  { out }: CommandContext,
  { moves, refused }: Pick<SeekPlan, 'moves' | 'refused'>,
  dryRun: boolean,
): ExitCode {
  if (out.format === 'json') out.json({ dryRun, moves, refused })
  else out.table(COLUMNS, moves)
  const { reread, skipped } = sums(moves)
  const moved = moves.filter(({ position, to }) => position !== to).length
  if (moved === 0) out.note('all of them are there already; nothing to do')
  else {
    const would = dryRun ? 'would be ' : ''
    out.note(`${would}moved ${moved}: ${reread} to read again, ${skipped} skipped`)
  }
  return noteRefused(out, refused)
}

function sums(moves: readonly PositionMove[]): { reread: bigint; skipped: bigint } {
  return {
    reread: moves.reduce((sum, move) => sum + move.reread, 0n),
    skipped: moves.reduce((sum, move) => sum + move.skipped, 0n),
  }
}
