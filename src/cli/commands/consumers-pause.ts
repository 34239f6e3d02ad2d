import { knownPositions, pauseConsumers, type ConsumerScope } from '../../consumer/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS } from '../options.ts'
import { shownTime } from '../times.ts'
import { consumerScope, durationOf, nameOfScope, SCOPE_OPTIONS } from './consumer-scope.ts'

/** `millrace consumers pause` */
export const consumersPauseCommand: Command = {
  summary: 'hold an application, topic or partition back',
  options: {
    ...SCOPE_OPTIONS,
    for: { type: 'string', value: '<time>', help: 'as 30m or 2h (default until it is resumed)' },
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'Lasts over restarts and deploys, and holds for partitions that are added later. --reason is needed: others will ask.',
    'The batch at hand is finished; what had been made into jobs is executed. Positions stay where they are.',
  ],
  examples: [
    'millrace consumers pause --app search --reason "index is rebuilt"',
    'millrace consumers pause --app search --topic products --partition 3 --for 30m --reason "carrier is down"',
  ],
  async run(context) {
    const { args } = context
    const scope = consumerScope(args)
    const reason = args.text('reason')?.trim() ?? ''
    if (reason === '') throw usage('why? --reason <text> is shown to everybody who asks')
    const forMs = durationOf(args)
    return withOperator(context, { writes: true }, async ({ operator }) => {
      if (args.flag('dry-run')) {
        const { length } = await knownPositions(operator.pool, scope)
        return report(context, scope, { partitions: length, until: null, dryRun: true })
      }
      const { pause, positions } = await pauseConsumers(operator, scope, { reason, forMs })
      return report(context, scope, {
        partitions: positions.length,
        until: pause.expiresAt,
        dryRun: false,
      })
    })
  },
}

function report(
  { out }: CommandContext,
  scope: ConsumerScope,
  done: { readonly partitions: number; readonly until: Date | null; readonly dryRun: boolean },
): ExitCode {
  const { partitions, until, dryRun } = done
  if (out.format === 'json') {
    out.json({ dryRun, ...scope, partitions, until })
    return EXIT.ok
  }
  const end = until === null ? 'until it is resumed' : `until ${shownTime(until) ?? ''}`
  const what = `${nameOfScope(scope)} (${partitions} ${partitions === 1 ? 'partition' : 'partitions'})`
  out.text(dryRun ? `would pause ${what}` : `paused ${what} ${end}`)
  return EXIT.ok
}
