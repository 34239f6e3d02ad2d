import type { Check } from '../../app/check.ts'
import { examine } from '../../app/doctor.ts'
import { openOperator } from '../../app/operator.ts'
import type { Command, CommandContext } from '../command.ts'
import { endConfiguredPool } from '../connect.ts'
import { findDatabase } from '../database-url.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { findLog } from '../find-log.ts'
import type { Output } from '../output.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { redact } from '../../errors/redact.ts'
import { safeLine } from '../safe-text.ts'

/** `millrace doctor` */
export const doctorCommand: Command = {
  summary: 'check database, log, migrations, partitions and processes, with a fix for each',
  options: {
    ...JSON_OPTION,
    'detailed-exitcode': { type: 'boolean', help: 'exit 3 when there are warnings' },
    ...DATABASE_OPTIONS,
  },
  notes: [
    'Changes nothing. Exit 1 when something has failed, 6 when the database cannot be reached.',
  ],
  examples: ['millrace doctor', 'millrace doctor --json --detailed-exitcode'],
  async run(context) {
    const found = await findDatabase({ ...context, config: 'if-there' })
    const poolSize = found.config?.millrace.poolSize
    const log = await findLog(context, found)
    const operator = openOperator({
      database: found.database,
      core: context.core,
      poolSize: 3,
      ...(log === undefined ? {} : { log }),
    })
    try {
      const checks = await examine(operator, poolSize === undefined ? {} : { poolSize })
      print(context.out, checks.map(redacted), redact(found.source))
      return exitCode(checks, context)
    } finally {
      await operator.close()
      await endConfiguredPool(found.config)
    }
  },
}

function redacted(check: Check): Check {
  return {
    ...check,
    found: redact(check.found),
    ...(check.fix === undefined ? {} : { fix: redact(check.fix) }),
  }
}

function exitCode(checks: readonly Check[], { args }: CommandContext): ExitCode {
  const has = (state: Check['state']): boolean => checks.some((check) => check.state === state)
  if (checks.some(({ id, state }) => id === 'database.reachable' && state === 'failure'))
    return EXIT.cannotConnect
  if (has('failure')) return EXIT.failed
  return args.flag('detailed-exitcode') && (has('warning') || has('unknown'))
    ? EXIT.changes
    : EXIT.ok
}

const MARKS = {
  ok: ['✓', 'green'],
  warning: ['!', 'yellow'],
  failure: ['✗', 'red'],
  unknown: ['?', 'yellow'],
} as const satisfies Record<Check['state'], readonly [string, string]>

function print(out: Output, checks: readonly Check[], source: string): void {
  const count = (state: Check['state']): number =>
    checks.filter((check) => check.state === state).length
  const summary = {
    ok: count('ok'),
    warnings: count('warning'),
    failures: count('failure'),
    unknown: count('unknown'),
  }
  if (out.format === 'json') {
    out.json({ checks, summary, database: source })
    return
  }
  const width = Math.max(...checks.map(({ title }) => title.length))
  for (const { state, title, found, fix } of checks) {
    const [mark, color] = MARKS[state]
    out.styled(`${out.style(color, mark)} ${safeLine(title).padEnd(width)}  ${safeLine(found)}`)
    if (fix !== undefined)
      out.styled(`  ${' '.repeat(width)}  ${out.style('dim', `fix: ${safeLine(fix)}`)}`)
  }
  out.note(
    `${summary.ok} ok · ${summary.warnings} warnings · ${summary.failures} failures${summary.unknown === 0 ? '' : ` · ${summary.unknown} unknown`} · address from ${source}`,
  )
}
