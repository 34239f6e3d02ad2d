import { hostname } from 'node:os'
import { migrationState } from '../../postgres/index.ts'
import type { Operator } from '../../app/operator.ts'
import type { Command, CommandContext } from '../command.ts'
import { withOperator } from '../connect.ts'
import { shownError, usage } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { nearest } from '../nearest.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { safeLine } from '../safe-text.ts'

const PROBES = ['live', 'ready'] as const

/** `millrace healthcheck` */
export const healthcheckCommand: Command = {
  summary: 'probe for containers: exit 0 or 1',
  usage: '[live|ready]',
  positionals: { min: 0, max: 1 },
  options: {
    name: {
      type: 'string',
      value: '<name>',
      help: 'name of the process to ask for (default: any of this host)',
    },
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'live: the process renews its heartbeat. A database that cannot be reached is not its fault: exit 0.',
    'ready (default): the database answers, no migration is pending, and the process renews its heartbeat.',
  ],
  examples: ['millrace healthcheck live', 'millrace healthcheck ready --name mailer-1'],
  run: runProbe,
}

async function runProbe(context: CommandContext): Promise<ExitCode> {
  const { out, args } = context
  const [word = 'ready'] = args.positionals
  const probe = PROBES.find((one) => one === word)
  if (probe === undefined) {
    const meant = nearest(word, PROBES)
    throw usage(
      `expected live or ready, got '${word}'${meant === undefined ? '' : `. Did you mean '${meant}'?`}`,
    )
  }
  const say = (ok: boolean, reason?: string): void => {
    if (out.format === 'json') out.json({ probe, ok, reason: reason ?? null })
    else
      out.text(
        [probe, ok ? 'ok' : 'no', ...(reason === undefined ? [] : [safeLine(reason)])].join(': '),
      )
  }
  try {
    const problem = await withOperator(context, {}, ({ operator }) =>
      problemOf(operator, probe, args.text('name')),
    )
    say(problem === undefined, problem)
    return problem === undefined ? EXIT.ok : EXIT.failed
  } catch (error) {
    // Whatever it is, a probe has two answers.
    const shown = shownError(error, context.name)
    const excused = probe === 'live' && shown.exitCode === EXIT.cannotConnect
    // One line, for whoever keeps a probe's output keeps its first.
    const [first = ''] = shown.message.split('\n')
    say(excused, excused ? `the database cannot be asked: ${first}` : first)
    return excused ? EXIT.ok : EXIT.failed
  }
}

async function problemOf(
  { pool }: Operator,
  probe: (typeof PROBES)[number],
  name: string | undefined,
): Promise<string | undefined> {
  if (probe === 'ready') {
    const { pending } = await migrationState(pool)
    if (pending.length > 0) return `${pending.length} migrations are pending`
  }
  const who = name ?? `${hostname()}:<pid>`
  const { rows } = await pool.query<{ alive: boolean | null }>(
    `/* millrace:healthcheck */ select bool_or(expires_at > clock_timestamp()) as alive from millrace.process
     where case when $1::text is null then starts_with(name, $2) else name = $1 end`,
    [name ?? null, `${hostname()}:`],
  )
  const alive = rows[0]?.alive ?? null
  if (alive === null) return `no process ${who} has started, or it has signed off`
  return alive ? undefined : `the process ${who} has not renewed its heartbeat in time`
}
