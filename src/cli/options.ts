import { parseArgs } from 'node:util'
import type { Clock } from '../core/clock.ts'
import { parseDuration } from '../core/duration.ts'
import { usage } from './errors.ts'
import { nearest } from './nearest.ts'

/** An option of a command. */
export interface Option {
  readonly type: 'boolean' | 'string'
  /** One letter. */
  readonly short?: string
  /** How its value is called in the help: `<n>`. */
  readonly value?: string
  /** It may be given more than once. */
  readonly repeats?: boolean
  readonly help: string
}

/** What was given for an option; of one that repeats all of it. */
type Given = string | true | readonly string[]

/** Options by their name, without the dashes. */
export type OptionSet = Readonly<Record<string, Option>>

/** What every command understands. */
export const COMMON_OPTIONS: OptionSet = {
  help: { type: 'boolean', short: 'h', help: 'say what this command does' },
  color: {
    type: 'string',
    value: 'auto|always|never',
    help: 'when to use colours (default auto; NO_COLOR is heeded)',
  },
}

/** What every command that prints data understands. */
export const JSON_OPTION: OptionSet = {
  json: { type: 'boolean', help: 'print one JSON document' },
}

/** What every list understands. */
export const LIST_OPTIONS: OptionSet = {
  ...JSON_OPTION,
  jsonl: { type: 'boolean', help: 'print one line of JSON per item' },
  columns: { type: 'string', value: 'a,b', help: 'columns of the table, in this order' },
}

/** What every list that is long understands. */
export const PAGE_OPTIONS: OptionSet = {
  ...LIST_OPTIONS,
  limit: {
    type: 'string',
    short: 'n',
    value: '<n>',
    help: 'at most this many, newest first (default 50, 1 … 1000)',
  },
  before: {
    type: 'string',
    value: '<id>',
    help: 'the next page: only what comes after this one in the list',
  },
}

/** Limits of time that a list may have. */
export const TIME_OPTIONS: OptionSet = {
  since: { type: 'string', value: '<when>', help: 'from this time on: 15m, 2h, 7d, or ISO 8601' },
  until: { type: 'string', value: '<when>', help: 'before this time' },
}

/** What every command that asks the database understands. */
export const DATABASE_OPTIONS: OptionSet = {
  'database-url': {
    type: 'string',
    value: '<url>',
    help: 'postgres://… (default: environment, config, running shop)',
  },
  config: {
    type: 'string',
    value: '<file>',
    help: 'config file (default ./millrace.config.ts, .js or .mjs)',
  },
  brokers: {
    type: 'string',
    value: '<host:port,…>',
    help: 'Kafka brokers, where the log is Kafka (default: MILLRACE_BROKERS, config, running shop)',
  },
}

/** What every command that changes something understands. */
export const WRITE_OPTIONS: OptionSet = {
  'dry-run': { type: 'boolean', help: 'say what would be done, and do nothing' },
}

/** What every order that is kept in the audit understands. */
export const ORDER_OPTIONS: OptionSet = {
  ...WRITE_OPTIONS,
  reason: { type: 'string', value: '<text>', help: 'why; kept with what was done' },
  user: {
    type: 'string',
    value: '<name>',
    help: 'who orders, as it is kept (default MILLRACE_USER, or the account and its host)',
  },
}

/** What a command line said, read by name. */
export class Arguments {
  readonly positionals: readonly string[]
  readonly #values: ReadonlyMap<string, Given>
  readonly #clock: Clock

  constructor(values: ReadonlyMap<string, Given>, positionals: readonly string[], clock: Clock) {
    this.#values = values
    this.positionals = positionals
    this.#clock = clock
  }

  flag(name: string): boolean {
    return this.#values.has(name)
  }

  text(name: string): string | undefined {
    const value = this.#values.get(name)
    return typeof value === 'string' ? value : undefined
  }

  /** All values of an option that repeats. */
  texts(name: string): readonly string[] {
    const value = this.#values.get(name)
    return typeof value === 'object' ? value : []
  }

  /** Values separated by commas, without empty ones. */
  list(name: string): string[] | undefined {
    const parts = this.text(name)
      ?.split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
    if (parts?.length === 0) throw usage(`--${name} needs at least one value`)
    return parts
  }

  whole(name: string, min: number, max: number): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= min && value <= max))
      throw usage(`--${name}: expected a whole number from ${min} to ${max}, got '${text}'`)
    return value
  }

  /** One of a few words. */
  word<const W extends string>(name: string, words: readonly W[]): W | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const found = words.find((word) => word === text)
    if (found !== undefined) return found
    const meant = nearest(text, words)
    throw usage(
      `--${name}: expected ${words.join(', ')}; got '${text}'${meant === undefined ? '' : `. Did you mean '${meant}'?`}`,
    )
  }

  /** A time: so long ago (`15m`), or ISO 8601. */
  time(name: string): Date | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const time = parseTime(text, this.#clock)
    if (time === undefined)
      throw usage(`--${name}: expected a time as 15m, 2h, 7d or ISO 8601, got '${text}'`)
    return time
  }
}

/** A time: so long ago (`15m`), or an ISO 8601 date, with or without a time; UTC where it names no zone. */
export function parseTime(text: string, clock: Clock): Date | undefined {
  const ago = parseDuration(text)
  if (ago !== undefined) return new Date(clock.now().getTime() - ago)
  const match =
    /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:?\d{2})?)?$/i.exec(
      text,
    )
  if (match === null) return undefined
  const [, day = '', time = '00:00', zone = 'Z'] = match
  const date = new Date(`${day}T${time}${zone}`)
  return Number.isNaN(date.getTime()) ? undefined : date
}

/**
 * Reads a command line.
 * @throws E_CLI_USAGE for an unknown option, with the one that was likely meant; for a value too many or too few.
 */
export function parseCommandLine(
  args: readonly string[],
  options: OptionSet,
  clock: Clock,
): Arguments {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(options).map(([name, { type, short }]) => [
        name,
        short === undefined ? { type } : { type, short },
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const values = new Map<string, Given>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined
    if (option === undefined) throw unknownOption(token.rawName, options)
    if (values.has(token.name) && option.repeats !== true)
      throw usage(`${token.rawName} is given twice`)
    if (option.type === 'boolean') {
      if (token.value !== undefined)
        throw usage(`${token.rawName} takes no value, got '${token.value}'`)
      values.set(token.name, true)
      continue
    }
    const value = token.value
    // `--limit --json` is a forgotten value, not a limit called --json.
    if (value === undefined || (!token.inlineValue && /^-./.test(value) && !/^-\d/.test(value))) {
      throw usage(`${token.rawName} needs a value: ${token.rawName} ${option.value ?? '<value>'}`)
    }
    const before = values.get(token.name)
    values.set(
      token.name,
      option.repeats === true ? [...(typeof before === 'object' ? before : []), value] : value,
    )
  }
  return new Arguments(values, positionals, clock)
}

function unknownOption(rawName: string, options: OptionSet): Error {
  const meant = rawName.startsWith('--')
    ? nearest(rawName.slice(2), Object.keys(options))
    : undefined
  return usage(
    `unknown option ${rawName}${meant === undefined ? '' : `. Did you mean --${meant}?`}`,
  )
}
