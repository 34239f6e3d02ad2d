import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { diff } from 'node:util'
import { editDeadLetter, getDeadLetter, listEdits } from '../../dead-letter/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { withOperator } from '../connect.ts'
import { CliError, usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { bytesToText } from '../json-values.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS } from '../options.ts'
import { safeLine } from '../safe-text.ts'
import { deadLetterId } from './dlq-filter.ts'

/** `millrace dlq edit` */
export const dlqEditCommand: Command = {
  summary: 'give a dead letter another value for its replays',
  usage: '<number>',
  positionals: { min: 1, max: 1 },
  options: {
    value: { type: 'string', value: '<text>', help: 'the value, as text' },
    file: { type: 'string', value: '<file>', help: 'the value, byte for byte; - is stdin' },
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'The original bytes and every earlier edit are kept. Shows what changes; --dry-run does only that.',
    'A value that is no JSON, where the original is JSON, is kept as it is given, with a warning: replays hand over any bytes.',
  ],
  examples: [
    'millrace dlq get 17 --raw value > value.json',
    'millrace dlq edit 17 --file value.json --reason "price was a text"',
  ],
  async run(context) {
    const { args, out } = context
    const id = deadLetterId(args.positionals[0]) as bigint
    const value = await newValue(context)
    return withOperator(context, { writes: true }, async ({ operator }) => {
      const letter = await getDeadLetter(operator.pool, id)
      const edits = await listEdits(operator.pool, id)
      const before = edits.length === 0 ? letter.value : (edits.at(-1)?.value ?? null)
      const changes = changed(before, value)
      if (out.format === 'text') {
        for (const [sign, line] of changes) {
          const color = sign === '+' ? 'green' : sign === '-' ? 'red' : 'dim'
          out.styled(out.style(color, `${sign} ${safeLine(line)}`))
        }
      }
      if (before !== null && Buffer.compare(before, value) === 0) {
        out.note('that is its value already; nothing to do')
        return EXIT.ok
      }
      if (letter.value !== null && isJson(letter.value) && !isJson(value)) {
        out.note(
          'warning: this value is no JSON, and the original is: a handler that reads JSON will refuse it',
        )
      }
      const dryRun = args.flag('dry-run')
      const revision = dryRun
        ? letter.revision
        : await editDeadLetter(operator, id, { value, reason: args.text('reason') })
      if (out.format === 'json') out.json({ id, dryRun, revision })
      out.note(
        dryRun
          ? 'nothing was written'
          : `edit ${revision} of dead letter ${id} is kept; try it: millrace dlq replay ${id} --dry-run`,
      )
      return EXIT.ok
    })
  },
}

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
    return true
  } catch {
    return false
  }
}

async function newValue({ args, cwd, stdin }: CommandContext): Promise<Uint8Array> {
  const text = args.text('value')
  const file = args.text('file')
  if ((text === undefined) === (file === undefined))
    throw usage('to what? either --value <text> or --file <file>')
  if (text !== undefined) return Buffer.from(text)
  if (file === '-') {
    const chunks: Buffer[] = []
    for await (const chunk of stdin) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks)
  }
  return readFile(resolve(cwd, file as string)).catch((error: unknown) => {
    throw new CliError(
      'E_CLI_NOT_FOUND',
      `${file ?? ''} cannot be read: ${(error as Error).message}`,
      {
        cause: error,
      },
    )
  })
}

/** Written out as it is; TypeScript does not know it yet. */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }

type Change = readonly [sign: '+' | '-' | ' ', line: string]

/**
 * What changes, line by line; JSON is compared as it is indented, its numbers as they are written. A change that shows in no
 * such line, as that of a name that is there twice, is shown in the text as it stands, and else by its place in the bytes.
 */
function changed(before: Uint8Array | null, after: Uint8Array): Change[] {
  const texts = [before, after].map((bytes) => bytesToText(bytes, Number.MAX_SAFE_INTEGER))
  const [old = '', changedTo = ''] = texts
  for (const linesOf of [indented, raw]) {
    const changes = compared(linesOf(old), linesOf(changedTo))
    if (changes.some(([sign]) => sign !== ' ')) return changes
  }
  if (before === null || Buffer.compare(before, after) === 0)
    return compared(indented(old), indented(old))
  const place = before.findIndex((byte, at) => byte !== after[at])
  const from = place < 0 ? before.length : place
  const shown = (bytes: Uint8Array): string =>
    `from byte ${from}: ${Buffer.from(bytes.subarray(from, from + 32)).toString('hex') || 'nothing'}`
  return [
    ['-', shown(before)],
    ['+', shown(after)],
  ]
}

function compared(before: readonly string[], after: readonly string[]): Change[] {
  // What is in the first text alone comes first, and is told as 1.
  return diff(before, after).map(
    ([operation, line]): Change => [
      operation === 0 ? ' ' : operation === 1 ? '-' : '+',
      String(line),
    ],
  )
}

function raw(text: string): string[] {
  return text.split('\n')
}

/** JSON with a line per value, what is none as it is. */
function indented(text: string): string[] {
  try {
    return JSON.stringify(JSON.parse(text, asWritten), null, 2).split('\n')
  } catch {
    return raw(text)
  }
}

/** No number is rounded on its way to the terminal. */
function asWritten(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === 'number' && context?.source !== undefined
    ? rawJSON(context.source)
    : value
}
