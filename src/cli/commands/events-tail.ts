import type { Command, CommandContext } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { headerText, recordToJson, recordToLine, type TailedRecord } from '../record-line.ts'
import { fitText, safeLine } from '../safe-text.ts'
import { placeOf } from '../place.ts'
import { tail } from '../tail.ts'

/** `millrace events tail` */
export const eventsTailCommand: Command = {
  summary: 'records of a topic, or of all, as they come',
  usage: '[topic]',
  positionals: { min: 0, max: 1 },
  options: {
    from: {
      type: 'string',
      value: '<where>',
      help: 'beginning, end, 15m, ISO 8601, or an offset (default end; with --no-follow beginning)',
    },
    limit: { type: 'string', short: 'n', value: '<n>', help: 'stop after this many records' },
    'no-follow': { type: 'boolean', help: 'stop at the end of the log as it is now' },
    partition: { type: 'string', value: '<n>', help: 'only this partition' },
    type: { type: 'string', value: '<type>', help: 'only events of this type' },
    key: { type: 'string', value: '<key>', help: 'only records with this key' },
    ...JSON_OPTION,
    jsonl: { type: 'boolean', help: 'print one line of JSON per record' },
    ...DATABASE_OPTIONS,
  },
  notes: [
    "Nobody's position is touched. Within a partition records come in order.",
    '--json needs --no-follow: a document has an end.',
    'JSON has whole numbers that a double cannot hold as strings, and data that is not JSON as bytes.',
  ],
  examples: [
    'millrace events tail orders',
    'millrace events tail --from 15m --jsonl | jq .data',
    'millrace events tail orders --no-follow -n 10',
  ],
  run: runTail,
}

async function runTail(context: CommandContext): Promise<ExitCode> {
  const { args, out, core } = context
  const follow = !args.flag('no-follow')
  const limit = args.whole('limit', 1, 1_000_000_000) ?? Number.POSITIVE_INFINITY
  const partition = args.whole('partition', 0, 1_023)
  const from = placeOf(args, 'from', core.clock) ?? (follow ? 'end' : 'beginning')
  const wanted = matcher(args.text('type'), args.text('key'))
  if (out.format === 'json' && follow)
    throw usage(
      '--json prints one document and a tail that follows has no end; use --jsonl, or --no-follow',
    )
  const { first } = context.interrupts()

  return withOperator(context, { config: 'if-there' }, async ({ operator }) => {
    const collected: unknown[] = []
    let shown = 0
    const records = tail({
      operator,
      topic: args.positionals[0],
      partition,
      from,
      follow,
      onNotice: (text) => out.note(text),
      signal: first,
    })
    for await (const record of records) {
      if (!wanted(record)) continue
      if (out.format === 'json') collected.push(recordToJson(record))
      else if (out.format === 'jsonl') await out.jsonl(recordToJson(record))
      else await out.line(shortened(recordToLine(record), out.width))
      shown += 1
      if (shown >= limit || out.closed || first.aborted) break
    }
    if (out.format === 'json') out.json({ items: collected, more: null })
    if (shown === 0 && !follow)
      out.note('no records. Publish one: millrace events publish <type> --data <json>')
    return first.aborted && shown < limit ? EXIT.interrupted : EXIT.ok
  })
}

function shortened(line: string, width: number | undefined): string {
  return width === undefined ? line : fitText(safeLine(line), width)
}

function matcher(
  type: string | undefined,
  key: string | undefined,
): (record: TailedRecord) => boolean {
  const bytes = key === undefined ? undefined : Buffer.from(key)
  return (record) =>
    (type === undefined || headerText(record, 'ce_type') === type) &&
    (bytes === undefined || (record.key !== null && bytes.equals(record.key)))
}
