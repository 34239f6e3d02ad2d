import { configuredEvents, type MillraceConfig } from '../../app/config.ts'
import { prepareEvent, publishPrepared, type PreparedEvent } from '../../app/operator-publish.ts'
import { isMillraceError } from '../../errors/millrace-error.ts'
import type { Command, CommandContext } from '../command.ts'
import { confirmMany, CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator, type Connection } from '../connect.ts'
import { CliError } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { inputLines } from '../input-lines.ts'
import { nearest } from '../nearest.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS } from '../options.ts'

/** Events that are published in one step. */
const STEP = 500

/** `millrace events publish` */
export const eventsPublishCommand: Command = {
  summary: 'publish events of a type that the config knows',
  usage: '<type>',
  positionals: { min: 1, max: 1 },
  options: {
    data: { type: 'string', value: '<json>', help: 'the data of one event' },
    file: {
      type: 'string',
      value: '<file>',
      help: 'a file with the data of one event per line; - is stdin (the default)',
    },
    key: {
      type: 'string',
      value: '<key>',
      help: "the record's key, instead of the one that the event makes of its data",
    },
    ...CONFIRM_OPTIONS,
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    jsonl: { type: 'boolean', help: 'print one line of JSON per event' },
    ...DATABASE_OPTIONS,
  },
  notes: [
    'The event must be handled by an application of the config, or stand in its `events`.',
    `Data is checked against its schema. What fits is published, ${STEP} at a time, in order; what does not is named. Exit 4: some did not fit.`,
  ],
  examples: [
    `millrace events publish ITEM_SOLD --data '{"orderId":"o-1","itemId":"i-1","priceCents":100}'`,
    'millrace events publish ITEM_SOLD --file sold.jsonl --dry-run',
  ],
  run: (context) =>
    withOperator(context, { config: 'needed', writes: true }, (connection) =>
      runPublish(context, connection),
    ),
}

/** What was done so far. */
interface Tally {
  published: number
  refused: number
  readonly items: unknown[]
}

async function runPublish(context: CommandContext, connection: Connection): Promise<ExitCode> {
  const { args, out } = context
  const definition = findEvent(connection.config?.millrace ?? {}, args.positionals[0] as string)
  const key = args.text('key')
  const tally: Tally = { published: 0, refused: 0, items: [] }
  let waiting: PreparedEvent[] = []
  let seen = 0
  try {
    for await (const { place, text } of inputLines(context)) {
      try {
        waiting.push(
          await prepareEvent(
            connection.operator,
            definition,
            parse(text),
            key === undefined ? {} : { key },
          ),
        )
        seen += 1
      } catch (error) {
        if (!(error instanceof CliError) && !isMillraceError(error)) throw error
        tally.refused += 1
        out.note(`refused ${place}: ${error.message}`)
        continue
      }
      if (waiting.length < STEP) continue
      await publishStep(context, connection, tally, waiting, seen)
      waiting = []
    }
    await publishStep(context, connection, tally, waiting, seen)
  } catch (error) {
    if (tally.published > 0)
      out.note(`published ${tally.published} before what follows; they stay published`)
    throw error
  }
  if (out.format === 'json') {
    out.json({
      dryRun: args.flag('dry-run'),
      published: tally.published,
      refused: tally.refused,
      items: tally.items,
    })
  }
  out.note(
    `${args.flag('dry-run') ? 'would publish' : 'published'} ${tally.published}, refused ${tally.refused}`,
  )
  if (tally.refused === 0) return EXIT.ok
  return tally.published > 0 ? EXIT.partial : EXIT.failed
}

/** @throws E_CLI_NOT_FOUND naming the events that the config knows. */
function findEvent(
  config: MillraceConfig,
  type: string,
): ReturnType<typeof configuredEvents> extends ReadonlyMap<string, infer D> ? D : never {
  const events = configuredEvents(config)
  const definition = events.get(type)
  if (definition !== undefined) return definition
  const meant = nearest(type, [...events.keys()])
  const hint =
    meant === undefined
      ? `It knows: ${[...events.keys()].join(', ') || 'none'}`
      : `Did you mean '${meant}'?`
  throw new CliError('E_CLI_NOT_FOUND', `the config knows no event '${type}'. ${hint}`)
}

/** Whoever publishes a number ought to find that very number in the log. */
function refuseRounding(
  key: string,
  value: unknown,
  context?: { readonly source?: string },
): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !Number.isInteger(value))
    return value
  throw new CliError(
    'E_CLI_USAGE',
    `${key}: ${context?.source ?? value} is too large a whole number for JSON and would be rounded; give it as a string`,
  )
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text, refuseRounding) as unknown
  } catch (error) {
    if (error instanceof CliError) throw error
    throw new CliError(
      'E_CLI_USAGE',
      `this is no JSON: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    )
  }
}

async function publishStep(
  context: CommandContext,
  { operator }: Connection,
  tally: Tally,
  events: readonly PreparedEvent[],
  seen: number,
): Promise<void> {
  const { args } = context
  if (events.length === 0) return
  if (args.flag('dry-run')) {
    tally.published += events.length
    for (const { id, topic, type } of events)
      await show(context, tally, { id, type, topic }, `would publish ${type} to ${topic}`)
    return
  }
  if (tally.published === 0)
    await confirmMany(
      context,
      seen,
      `publish ${events.length < STEP ? seen : `${STEP} or more`} events`,
    )
  const published = await publishPrepared(operator, events, {
    type: args.positionals[0] as string,
    key: args.text('key'),
    reason: args.text('reason'),
  })
  tally.published += published.length
  for (const { id, topic, partition, offset } of published) {
    await show(
      context,
      tally,
      { id, topic, partition, offset },
      `${topic}/${partition}@${offset} ${id}`,
    )
  }
}

async function show(
  { out }: CommandContext,
  tally: Tally,
  item: unknown,
  line: string,
): Promise<void> {
  if (out.format === 'json') tally.items.push(item)
  else if (out.format === 'jsonl') await out.jsonl(item)
  else await out.line(line)
}
