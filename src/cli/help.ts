import type { Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import { COMMON_OPTIONS, type OptionSet } from './options.ts'

/** All commands, or those of a group, a line each. */
export function formatOverview(group?: string): string {
  const entries =
    group === undefined ? COMMANDS : COMMANDS.filter(({ name }) => name.startsWith(`${group} `))
  const width = Math.max(...entries.map(({ name }) => name.length))
  return [
    ...(group === undefined ? ['millrace: events and jobs, on Kafka and Postgres', ''] : []),
    `usage: millrace ${group ?? '<command>'} ${group === undefined ? '' : '<command> '}[options]`,
    '',
    ...entries.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    'millrace <command> --help says more.',
    ...(group === undefined ? ['', ...EXIT_CODES] : []),
  ].join('\n')
}

/** What `millrace <command> --help` prints. */
export function formatCommandHelp(name: string, command: Command): string {
  const section = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)]
  return [
    `millrace ${name}: ${command.summary}`,
    '',
    `usage: millrace ${[name, command.usage, '[options]'].filter(Boolean).join(' ')}`,
    ...section('options', optionLines({ ...command.options, ...COMMON_OPTIONS })),
    ...section('notes', command.notes ?? []),
    ...section('examples', command.examples ?? []),
  ].join('\n')
}

function optionLines(options: OptionSet): string[] {
  const heads = Object.entries(options).map(([name, { short, value }]) => {
    const long = `--${name}${value === undefined ? '' : ` ${value}`}`
    return short === undefined ? `    ${long}` : `-${short}, ${long}`
  })
  const width = Math.max(...heads.map((head) => head.length))
  return Object.values(options).map(
    ({ help }, index) => `${(heads[index] as string).padEnd(width)}  ${help}`,
  )
}

const EXIT_CODES = [
  'exit codes: 0 ok · 1 failed · 2 usage · 3 changes or warnings (--detailed-exitcode) · 4 partial',
  '            5 not found · 6 cannot connect · 7 refused · 8 timed out · 130 interrupted',
]
