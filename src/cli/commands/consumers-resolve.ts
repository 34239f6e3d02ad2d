import {
  nothingResolved,
  planResolve,
  resolveConsumers,
  type Resolution,
  type ResolvePlan,
  type ResolveStep,
} from '../../consumer/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { confirmMany, CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import type { ExitCode } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS, type Arguments } from '../options.ts'
import { parseOffset, placeOf, type Place } from '../place.ts'
import type { Column } from '../table.ts'
import { consumerScope, noteRefused, SCOPE_OPTIONS } from './consumer-scope.ts'

const COLUMNS: readonly Column<ResolveStep>[] = [
  { name: 'topic', of: (step) => step.topic, least: 12 },
  { name: 'partition', of: (step) => step.partition, align: 'right' },
  { name: 'found', of: (step) => step.code },
  { name: 'position', of: (step) => step.position, align: 'right' },
  { name: 'to', of: (step) => step.to, align: 'right' },
  { name: 're-read', of: (step) => step.reread, align: 'right' },
  { name: 'given-up', of: (step) => (step.givenUp === null ? 'unknown' : step.givenUp) },
  { name: 'note', of: (step) => step.note, least: 20 },
]

const DECISIONS = ['rewind', 'accept', 'adopt'] as const

/** `millrace consumers resolve` */
export const consumersResolveCommand: Command = {
  summary: 'decide about partitions that were stopped because their log changed',
  usage: 'rewind|accept|adopt',
  positionals: { min: 1, max: 1 },
  options: {
    ...SCOPE_OPTIONS,
    to: {
      type: 'string',
      value: '<where>',
      help: 'rewind: match (default), beginning, or an offset; accept: an offset',
    },
    from: {
      type: 'string',
      value: '<where>',
      help: 'adopt: beginning, end, 2h, ISO 8601, or an offset in the new topic',
    },
    ...CONFIRM_OPTIONS,
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'rewind  reads again; `match` is from behind the last record that is still as it was handled. What is read again makes new jobs.',
    'accept  gives up what is missing, and goes on behind it. Of a topic that is gone for good, ends its positions.',
    'adopt   reads the new topic of the same name; the positions in the old one end, and the gap keeps where.',
    'Nothing goes on by itself. `millrace consumers get --app <name>` says what was found, and names the command to try.',
  ],
  examples: [
    'millrace consumers resolve rewind --app search --topic products --partition 3 --dry-run',
    'millrace consumers resolve accept --app search --reason "expired over the weekend"',
    'millrace consumers resolve adopt --app search --topic products --from beginning',
  ],
  async run(context) {
    const { args } = context
    const scope = consumerScope(args)
    const resolution = resolutionOf(context)
    return withOperator(context, { config: 'if-there', writes: true }, async ({ operator }) => {
      const plan = await planResolve(operator, scope, resolution)
      if (plan.steps.length === 0) throw nothingResolved(scope.application, plan.refused)
      if (args.flag('dry-run')) return report(context, plan, true)
      await confirm(context, plan.steps)
      const reason = args.text('reason')
      const { steps, refused } = await resolveConsumers(operator, plan, { reason })
      return report(context, { ...plan, steps, refused }, false)
    })
  },
}

function resolutionOf({ args, core }: CommandContext): Resolution {
  const given = args.positionals[0] as string
  const decision = DECISIONS.find((one) => one === given)
  if (decision === undefined) throw usage(`expected ${DECISIONS.join(', ')}; got '${given}'`)
  const wrong = decision === 'adopt' ? 'to' : 'from'
  if (args.text(wrong) !== undefined)
    throw usage(
      `--${wrong} is not for ${decision}; did you mean --${wrong === 'to' ? 'from' : 'to'}?`,
    )
  if (decision === 'adopt') {
    const from: Place | undefined = placeOf(args, 'from', core.clock)
    if (from === undefined)
      throw usage(
        'from where in the new topic? --from beginning reads all of it, --from end nothing that is there',
      )
    return { decision, from }
  }
  const to = args.text('to')
  if (decision === 'accept')
    return to === undefined ? { decision } : { decision, to: offsetOf(args, 'an offset') }
  if (to === undefined || to === 'match' || to === 'beginning')
    return { decision, to: to ?? 'match' }
  return { decision, to: { offset: offsetOf(args, 'match, beginning, or an offset') } }
}

function offsetOf(args: Arguments, expected: string): bigint {
  const text = args.text('to') as string
  const offset = parseOffset(text)
  if (offset === undefined) throw usage(`--to: expected ${expected}; got '${text}'`)
  return offset
}

async function confirm(context: CommandContext, steps: readonly ResolveStep[]): Promise<void> {
  // What went with an old topic is gone whatever is decided.
  const goingOn = steps.filter(({ to }) => to !== null)
  const reread = goingOn.reduce((sum, step) => sum + step.reread, 0n)
  const isKnown = goingOn.every(({ givenUp }) => givenUp !== null)
  const givenUp = goingOn.reduce((sum, step) => sum + (step.givenUp ?? 0n), 0n)
  await confirmMany(
    context,
    isKnown ? Number(reread + givenUp) : null,
    `read ${reread} records again and give up ${isKnown ? givenUp : 'others'}`,
  )
}

function report(
  { out }: CommandContext,
  { resolution, steps, refused }: ResolvePlan,
  dryRun: boolean,
): ExitCode {
  if (out.format === 'json') {
    const shown = steps.map(({ seen: _, ...step }) => step)
    out.json({ dryRun, decision: resolution.decision, steps: shown, refused })
  } else out.table(COLUMNS, steps)
  const resolved = steps.filter(({ position }) => position !== null).length
  out.note(`${dryRun ? 'would be ' : ''}resolved ${resolved}, refused ${refused.length}`)
  return noteRefused(out, refused)
}
