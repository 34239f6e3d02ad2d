import {
  resumeConsumers,
  type AcceptedFailure,
  type FloodStop,
  type Pause,
  type Resumed,
} from '../../consumer/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS } from '../options.ts'
import { shownTime } from '../times.ts'
import { consumerScope, durationOf, nameOfScope, SCOPE_OPTIONS } from './consumer-scope.ts'

/** `millrace consumers resume` */
export const consumersResumeCommand: Command = {
  summary: 'let what was paused, or stopped by the flood brake, go on',
  options: {
    ...SCOPE_OPTIONS,
    'accept-failures': {
      type: 'boolean',
      help: 'what the flood brake stopped for is really bad: it becomes dead letters',
    },
    for: { type: 'string', value: '<time>', help: 'how long that is accepted (default 24h)' },
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'Takes back the pauses of what is named, and all within it. What a wider pause holds back stays so.',
    'What the flood brake has stopped is tried again, as after a fixed deploy; what still fails stops it again, and nothing becomes a dead letter.',
    'With --accept-failures and a --reason, failures of that fingerprint stop no partition of the application any more; others do.',
  ],
  examples: [
    'millrace consumers resume --app search',
    'millrace consumers resume --app search --accept-failures --for 2h --reason "the feed was broken at its source"',
  ],
  async run(context) {
    const { args, out } = context
    const scope = consumerScope(args)
    const dryRun = args.flag('dry-run')
    const reason = args.text('reason')?.trim()
    const accepts = args.flag('accept-failures')
    if (accepts && (reason ?? '') === '')
      throw usage('why? --accept-failures needs --reason <text>: others will ask')
    if (!accepts && args.text('for') !== undefined)
      throw usage('--for says how long failures are accepted: it needs --accept-failures')
    const forMs = durationOf(args)
    return withOperator(context, { writes: true }, async ({ operator }) => {
      const resumed = await resumeConsumers(operator, scope, {
        reason,
        dryRun,
        ...(accepts ? { acceptFailures: { reason: reason as string, forMs } } : {}),
      })
      const { pauses, stops, accepted, held } = resumed
      if (out.format === 'json') out.json({ dryRun, resumed: pauses, stops, accepted, held })
      else tell(context, scope.application, resumed, { dryRun, accepts })
      for (const { topic, partition, why } of held)
        out.note(`${topic}/${partition} stays held back: ${why}`)
      return EXIT.ok
    })
  },
}

function tell(
  { out }: CommandContext,
  application: string,
  { pauses, stops, accepted }: Resumed,
  { dryRun, accepts }: { readonly dryRun: boolean; readonly accepts: boolean },
): void {
  if (pauses.length === 0 && stops.length === 0) out.note('nothing was paused or stopped')
  const done = dryRun ? 'would resume' : 'resumed'
  for (const { topic, partition, by, reason } of pauses)
    out.text(`${done} ${pausedName(application, topic, partition)}, paused by ${by}: ${reason}`)
  for (const { topic, partition, position, found } of stops)
    out.text(`${done} ${application}/${topic}/${partition} at offset ${position}: ${found}`)
  for (const fingerprint of accepts && dryRun ? fingerprintsOf(stops) : [])
    out.text(`would accept failures ${fingerprint}`)
  for (const one of accepted) out.text(shownAcceptance(one))
}

function pausedName(application: string, topic: Pause['topic'], partition: Pause['partition']) {
  return nameOfScope({
    application,
    topic: topic ?? undefined,
    partition: partition ?? undefined,
  })
}

function fingerprintsOf(stops: readonly FloodStop[]): Set<string> {
  return new Set(stops.map(({ flood }) => flood.fingerprint))
}

function shownAcceptance({ fingerprint, expiresAt }: AcceptedFailure): string {
  return `accepted failures ${fingerprint} until ${shownTime(expiresAt) ?? ''}: they become dead letters`
}
