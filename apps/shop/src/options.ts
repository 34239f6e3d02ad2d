import { parseArgs } from 'node:util'

/** How the shop is to run. */
export interface ShopOptions {
  /** After this many milliseconds the shop drains and ends. Undefined: when it is told to. */
  readonly forMs: number | undefined
  /** A JSON line a second on stdout, also in a terminal. */
  readonly json: boolean
  /** Purchases per second. 0: no new ones. */
  readonly rate: number
  /** A PostgreSQL server of the user's own. Undefined: the embedded one. */
  readonly databaseUrl: string | undefined
  /** Kafka brokers, `host:port` with commas between. Undefined: events are in the database. */
  readonly kafka: string | undefined
  /** Forget everything the shop made, then begin at zero. */
  readonly reset: boolean
}

/** What the command line asks for. */
export type CommandLine =
  | { readonly kind: 'run'; readonly options: ShopOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly problems: readonly string[] }

/** Shown for `--help`, and after a wrong command line. */
export const HELP = `The shop: real purchases become orders, commissions and mails, on millrace.

  npm start [-- options]

  --rate <n>            purchases per second, 0 to 10000; 0 only works off what is there. Default 50
  --for <time>          finish and stop after this time: 500ms, 20s, 5m, 1h. Default: until Ctrl-C
  --json                a JSON line a second instead of the live summary; with \`npm start --silent -- --json\`
                        npm's own first lines are left out
  --database-url <url>  a PostgreSQL (15 or newer) of your own. Default: an embedded PostgreSQL 18
  --kafka <host:port>   events on Kafka instead of in the database; \`npm run kafka\` starts a broker. A shop stays
                        where it began: change it together with --reset
  --reset               first forget everything the shop has made before
  --help                this text

Ctrl-C once: finish what is on the way, then stop; the next start goes on from there.
Ctrl-C twice: stop now; the next start repairs what was left.
Everything is kept in .millrace/ of the checkout, or where MILLRACE_HOME points.
Figures go to stdout, talk to stderr. Exit codes: 0 ok, 1 failed, 2 wrong options, 130 stopped now.
`

const DEFAULT_RATE = 50
const MAX_RATE = 10_000
/** Longest delay that a timer of the runtime can hold, less some: 24 days. */
const MAX_FOR_MS = 24 * 86_400_000

const FLAGS = ['json', 'reset', 'help'] as const
const SETTINGS = ['for', 'rate', 'database-url', 'kafka'] as const
const KNOWN: readonly string[] = [...FLAGS, ...SETTINGS]

/** Reads the arguments after the program's name; gives all that is wrong with them at once. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    options: {
      json: { type: 'boolean' },
      reset: { type: 'boolean' },
      help: { type: 'boolean' },
      for: { type: 'string' },
      rate: { type: 'string' },
      'database-url': { type: 'string' },
      kafka: { type: 'string' },
    },
  })
  const problems: string[] = []
  const given = new Map<string, string>()
  for (const token of tokens) {
    if (token.kind === 'positional') problems.push(`unexpected '${token.value}'`)
    if (token.kind !== 'option') continue
    const { name, rawName, value } = token
    if (!KNOWN.includes(name)) problems.push(`unknown option ${rawName}`)
    else if (given.has(name)) problems.push(`${rawName} is given twice`)
    else if (FLAGS.some((flag) => flag === name) && value !== undefined) {
      problems.push(`${rawName} takes no value, got '${value}'`)
    } else if (SETTINGS.some((setting) => setting === name) && value === undefined) {
      problems.push(`${rawName} needs a value`)
    } else given.set(name, value ?? '')
  }
  if (given.has('help')) return { kind: 'help' }
  const options: ShopOptions = {
    forMs: parseFor(given.get('for'), problems),
    json: given.has('json'),
    rate: parseRate(given.get('rate'), problems),
    databaseUrl: parseUrl(given.get('database-url'), problems),
    kafka: parseBrokers(given.get('kafka'), problems),
    reset: given.has('reset'),
  }
  return problems.length > 0 ? { kind: 'wrong', problems } : { kind: 'run', options }
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

function parseFor(text: string | undefined, problems: string[]): number | undefined {
  if (text === undefined) return undefined
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? []
  const ms = Math.round(Number(amount) * (UNIT_MS[unit ?? ''] ?? Number.NaN))
  if (ms >= 1 && ms <= MAX_FOR_MS) return ms
  problems.push(`--for: expected a time such as 20s, from 1ms to 576h, got '${text}'`)
  return undefined
}

function parseRate(text: string | undefined, problems: string[]): number {
  if (text === undefined) return DEFAULT_RATE
  const rate = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (rate >= 0 && rate <= MAX_RATE) return rate
  problems.push(`--rate: expected a number from 0 to ${MAX_RATE}, got '${text}'`)
  return DEFAULT_RATE
}

function parseBrokers(text: string | undefined, problems: string[]): string | undefined {
  if (text === undefined || /^[\w.-]+:\d{1,5}(,[\w.-]+:\d{1,5})*$/.test(text)) return text
  // Not repeated where it has an @: what stands before it may be a password.
  const got = text.includes('@') ? 'something with an @' : `'${text}'`
  problems.push(`--kafka: expected host:port, several with commas between, got ${got}`)
  return undefined
}

function parseUrl(text: string | undefined, problems: string[]): string | undefined {
  if (text === undefined || (/^postgres(ql)?:\/\//.test(text) && URL.canParse(text))) return text
  // Not repeated: it may have a password in it.
  problems.push(
    '--database-url: expected a URL such as postgres://user:password@host:5432/database',
  )
  return undefined
}
