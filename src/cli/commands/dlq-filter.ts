import {
  countParked,
  parkedWords,
  parseCondition,
  type DeadLetterFilter,
  type DeadLetterState,
} from '../../dead-letter/queries.ts'
import { isMillraceError } from '../../errors/millrace-error.ts'
import { usage } from '../errors.ts'
import { TIME_OPTIONS, type Arguments, type OptionSet } from '../options.ts'

/** How those are called that were set aside before there were fingerprints. */
export const NO_GROUP = 'none'

/** `--group` */
export const GROUP_OPTION: OptionSet = {
  group: {
    type: 'string',
    value: '<fingerprint>',
    help: `only of this group; \`${NO_GROUP}\`: from before there were fingerprints`,
  },
}

const STAGES = ['decode', 'validate', 'prepare', 'apply', 'job'] as const
const STATES = ['open', 'replayed', 'discarded', 'parked'] as const

/** `--state`, of one state. */
export const STATE_OPTION: OptionSet = {
  state: {
    type: 'string',
    value: '<state>',
    help: `open (default), ${STATES.slice(1).join(', ')}`,
  },
}

/** `--state`, of one state or all. */
export const STATE_OR_ALL_OPTION: OptionSet = {
  state: {
    type: 'string',
    value: '<state>',
    help: `open (default), ${STATES.slice(1).join(', ')}, all`,
  },
}

/** What {@link STATE_OPTION} said. */
export function stateOf(args: Arguments): DeadLetterState {
  return args.word('state', STATES) ?? 'open'
}

/** What {@link STATE_OR_ALL_OPTION} said; undefined: all. */
export function stateOrAllOf(args: Arguments): DeadLetterState | undefined {
  const state = args.word('state', [...STATES, 'all']) ?? 'open'
  return state === 'all' ? undefined : state
}

/** By what dead letters are chosen, but for their group. */
export const SCOPE_OPTIONS: OptionSet = {
  app: { type: 'string', value: '<name>', help: 'only of this application' },
  handler: { type: 'string', value: '<name>', help: 'only of this handler' },
  stage: {
    type: 'string',
    value: '<stage>',
    help: `only from here: ${STAGES.join(', ')}`,
  },
  topic: { type: 'string', value: '<topic>', help: 'only records of this topic' },
  ...TIME_OPTIONS,
}

/** What {@link SCOPE_OPTIONS} said. */
export function scopeOf(
  args: Arguments,
): Pick<DeadLetterFilter, 'application' | 'handler' | 'stage' | 'topic' | 'since' | 'until'> {
  return given({
    application: args.text('app'),
    handler: args.text('handler'),
    stage: args.word('stage', STAGES),
    topic: args.text('topic'),
    since: args.time('since'),
    until: args.time('until'),
  })
}

/** By what dead letters carry, and by what their error says. */
export const CARRIED_OPTIONS: OptionSet = {
  where: {
    type: 'string',
    value: '<place=value>',
    help: 'data.currency=GBP, data.items[].sku!=A-1, args.orderId=7, header.x=y, key=k; or a place alone',
  },
  text: {
    type: 'string',
    value: '<text>',
    help: "a part of the error's class, code or message, or of a cause's",
  },
}

/**
 * What {@link CARRIED_OPTIONS} said.
 * @throws E_CLI_USAGE
 */
export function carriedOf(args: Arguments): { readonly where?: string; readonly text?: string } {
  const where = args.text('where')
  try {
    if (where !== undefined) parseCondition(where)
  } catch (error) {
    throw isMillraceError(error) ? usage(`--where: ${(error as Error).message}`) : error
  }
  return given({ where, text: args.text('text') })
}

/**
 * The fingerprint that a group is named by.
 * @throws E_CLI_USAGE
 */
export function groupOf(text: string): string {
  if (text === NO_GROUP) return ''
  if (!/^[0-9a-f]{16}$/.test(text))
    throw usage(
      `expected the sixteen digits of a fingerprint, or ${NO_GROUP}; got '${text}'`,
      'millrace dlq groups',
    )
  return text
}

/** The number of a dead letter. @throws E_CLI_USAGE when `text` is none. */
export function deadLetterId(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,18}$/.test(text))
    throw usage(`expected the number of a dead letter, got '${text}'`, 'millrace dlq list')
  return BigInt(text)
}

/**
 * What to say where no open dead letter fits: how many that fit are parked, and how to see them; or `otherwise`.
 * @param command which was given, such as `dlq list`.
 */
export async function nothingOpen(
  db: Parameters<typeof countParked>[0],
  filter: DeadLetterFilter,
  { command, otherwise }: { readonly command: string; readonly otherwise: string },
): Promise<string> {
  const parked = await countParked(db, filter)
  if (parked === 0) return otherwise
  return `none is open; ${parkedWords(parked)}. See \`millrace ${command} --state parked\`; \`millrace dlq replay --parked\` takes them too.`
}

/** `found` without what was not given. */
export function given<T extends object>(found: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(found).filter(([, value]) => value !== undefined),
  ) as never
}

/** `1 dead letter`, `7 dead letters`. */
export function countedLetters(count: number | bigint): string {
  return `${count} dead letter${Number(count) === 1 ? '' : 's'}`
}
