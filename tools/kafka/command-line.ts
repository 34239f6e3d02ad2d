import { parseArgs } from 'node:util'

/** How the local broker is to run. */
export interface BrokerOptions {
  /** Where clients connect, on 127.0.0.1. */
  readonly port: number
  /** Forget all topics and records first. */
  readonly reset: boolean
}

/** What the command line asks for. */
export type CommandLine =
  | { readonly kind: 'run'; readonly options: BrokerOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly problems: readonly string[] }

const DEFAULT_PORT = 9092

/** Shown for `--help`, and after a wrong command line. */
export const HELP = `A local Apache Kafka broker (KRaft), for development, on 127.0.0.1 only.

  npm run kafka [-- options]

  --port <n>   port for clients, 1 to 65535. Default ${DEFAULT_PORT}
  --reset      first forget all topics and records
  --help       this text

Then, in another terminal: npm start -- --kafka 127.0.0.1:${DEFAULT_PORT}
Ctrl-C once: stop in order. Ctrl-C twice: stop now; the next start repairs what was left.
Data and logs are kept in .millrace/kafka/data of the checkout, or under MILLRACE_HOME.
It needs Java 17 or newer, and Maven once, to fetch Kafka; on Debian as root it installs what is missing.
The address goes to stdout when clients can connect, talk to stderr. Exit codes: 0 ok, 1 failed, 2 wrong options,
130 stopped now.
`

const FLAGS: readonly string[] = ['reset', 'help']
const SETTINGS: readonly string[] = ['port']

/** Reads the arguments after the program's name; gives all that is wrong with them at once. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    options: { reset: { type: 'boolean' }, help: { type: 'boolean' }, port: { type: 'string' } },
  })
  const problems: string[] = []
  const given = new Map<string, string>()
  for (const token of tokens) {
    if (token.kind === 'positional') problems.push(`unexpected '${token.value}'`)
    if (token.kind !== 'option') continue
    const { name, rawName, value } = token
    if (!FLAGS.includes(name) && !SETTINGS.includes(name)) {
      problems.push(`unknown option ${rawName}`)
    } else if (given.has(name)) problems.push(`${rawName} is given twice`)
    else if (FLAGS.includes(name) && value !== undefined) {
      problems.push(`${rawName} takes no value, got '${value}'`)
    } else if (SETTINGS.includes(name) && value === undefined) {
      problems.push(`${rawName} needs a value`)
    } else given.set(name, value ?? '')
  }
  if (given.has('help')) return { kind: 'help' }
  const options = { port: parsePort(given.get('port'), problems), reset: given.has('reset') }
  return problems.length > 0 ? { kind: 'wrong', problems } : { kind: 'run', options }
}

function parsePort(text: string | undefined, problems: string[]): number {
  if (text === undefined) return DEFAULT_PORT
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (port >= 1 && port <= 65_535) return port
  problems.push(`--port: expected a whole number from 1 to 65535, got '${text}'`)
  return DEFAULT_PORT
}
