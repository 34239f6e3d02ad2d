import { StopReason } from '../core/abort.ts'
import { createCore } from '../core/core.ts'
import type { Command, Interrupts } from './command.ts'
import { COMMANDS, type CommandEntry } from './commands.ts'
import { formatError, shownError, usage, type CliError } from './errors.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'
import { formatCommandHelp, formatOverview } from './help.ts'
import { nearest } from './nearest.ts'
import { COMMON_OPTIONS, parseCommandLine } from './options.ts'
import { Output, type ColorChoice, type Format } from './output.ts'

/** Does what the command line says. Never throws. */
async function main(argv: readonly string[]): Promise<ExitCode> {
  let out = output(formatAsked(argv), 'auto')
  let name = ''
  try {
    const found = findCommand(argv)
    if (found.entry === undefined) {
      out.text(formatOverview(found.group))
      return EXIT.ok
    }
    name = found.entry.name
    const command = await found.entry.load()
    const core = createCore()
    const args = parseCommandLine(found.rest, { ...command.options, ...COMMON_OPTIONS }, core.clock)
    const color = args.word('color', ['auto', 'always', 'never']) ?? 'auto'
    if (args.flag('json') && args.flag('jsonl'))
      throw usage('--json and --jsonl exclude each other')
    out = output(args.flag('jsonl') ? 'jsonl' : args.flag('json') ? 'json' : 'text', color)
    if (args.flag('help')) {
      out.text(formatCommandHelp(name, command))
      return EXIT.ok
    }
    checkPositionals(command, args.positionals)
    return await command.run({
      name,
      args,
      out,
      core,
      env: process.env,
      cwd: process.cwd(),
      stdin: process.stdin,
      interrupts,
    })
  } catch (error) {
    const shown = shownError(error, name)
    const format = out.format === 'text' ? 'text' : 'json'
    out.error(formatError(shown, format, (text) => out.style('red', text, 'stderr')))
    return shown.exitCode
  }
}

function output(format: Format, color: ColorChoice): Output {
  return new Output({
    stdout: process.stdout,
    stderr: process.stderr,
    format,
    color,
    env: process.env,
  })
}

/** What errors look like that are found before the options have been read. */
function formatAsked(argv: readonly string[]): Format {
  return argv.includes('--json') ? 'json' : argv.includes('--jsonl') ? 'jsonl' : 'text'
}

interface FoundCommand {
  /** Undefined: help was asked for. */
  readonly entry: CommandEntry | undefined
  readonly rest: readonly string[]
  readonly group?: string
}

function findCommand(argv: readonly string[]): FoundCommand {
  const [first, second] = argv
  if (first === undefined || first === '--help' || first === '-h')
    return { entry: undefined, rest: [] }
  if (first === '--version' || first === '-V')
    return { entry: entryOf('version'), rest: argv.slice(1) }
  if (first.startsWith('-')) throw usage(`options stand behind the command, got ${first} before it`)
  if (first === 'help') return findHelp(argv.slice(1))
  const two = entryOf(`${first} ${second ?? ''}`)
  if (two !== undefined) return { entry: two, rest: argv.slice(2) }
  const one = entryOf(first)
  if (one !== undefined) return { entry: one, rest: argv.slice(1) }
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `))
  if (group.length === 0)
    throw unknown(first, [...new Set(COMMANDS.map(({ name }) => name.split(' ')[0] as string))])
  if (second === undefined || second === '--help' || second === '-h')
    return { entry: undefined, rest: [], group: first }
  throw unknown(
    `${first} ${second}`,
    group.map(({ name }) => name),
  )
}

function findHelp(words: readonly string[]): FoundCommand {
  if (words.length === 0) return { entry: undefined, rest: [] }
  const found = findCommand([
    ...words.filter((word) => !word.startsWith('-')).slice(0, 2),
    '--help',
  ])
  return found
}

function entryOf(name: string): CommandEntry | undefined {
  return COMMANDS.find((entry) => entry.name === name)
}

function unknown(typed: string, names: readonly string[]): CliError {
  const meant = nearest(typed, names)
  return meant === undefined
    ? usage(`there is no command '${typed}'. There are: ${names.join(', ')}`, 'millrace --help')
    : usage(`there is no command '${typed}'. Did you mean '${meant}'?`, `millrace ${meant} --help`)
}

function checkPositionals(command: Command, positionals: readonly string[]): void {
  const { min, max } = command.positionals ?? { min: 0, max: 0 }
  if (positionals.length < min) throw usage(`${command.usage ?? 'an argument'} is missing`)
  if (positionals.length > max) throw usage(`one argument too many: '${positionals[max] ?? ''}'`)
}

/** Signals, from the moment that a command wants to hear them; before and after they end the process as usual. */
function interrupts({ twice = false }: { readonly twice?: boolean } = {}): Interrupts {
  const first = new AbortController()
  const second = new AbortController()
  const hear = (signal: NodeJS.Signals): void => {
    const isLast = !twice || first.signal.aborted
    ;(first.signal.aborted ? second : first).abort(new StopReason(signal))
    if (!isLast) return
    // Whatever hangs now can be ended by one more signal.
    process.off('SIGINT', hear)
    process.off('SIGTERM', hear)
  }
  process.on('SIGINT', hear)
  process.on('SIGTERM', hear)
  return { first: first.signal, second: second.signal }
}

process.exitCode = await main(process.argv.slice(2))
