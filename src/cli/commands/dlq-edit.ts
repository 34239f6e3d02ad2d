import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { editDeadLetter, getDeadLetter, listEdits } from '../../dead-letter/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { CONFIRM_OPTIONS } from '../confirm.ts'
import { withOperator } from '../connect.ts'
import { CliError, usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, ORDER_OPTIONS } from '../options.ts'
import { changesOf, showChanges } from '../value-changes.ts'
import { CHANGE_OPTIONS, changeAsked, editMany } from './dlq-edit-many.ts'
import { deadLetterId } from './dlq-filter.ts'
import { SELECTION_OPTIONS } from './dlq-selection.ts'

/** `millrace dlq edit` */
export const dlqEditCommand: Command = {
  summary: 'give a dead letter another value for its replays',
  usage: '[<number>…]',
  positionals: { min: 0, max: 1_000 },
  options: {
    value: { type: 'string', value: '<text>', help: 'the value of this one, as text' },
    file: {
      type: 'string',
      value: '<file>',
      help: 'the value of this one, byte for byte; - is stdin',
    },
    ...CHANGE_OPTIONS,
    ...SELECTION_OPTIONS,
    ...CONFIRM_OPTIONS,
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'The original bytes and every earlier edit are kept. Shows what changes; --dry-run does only that.',
    'A value that is no JSON, where the original is JSON, is kept as it is given, with a warning: replays hand over any bytes.',
    'With --set and --unset it edits many at once, and shows the first few with --dry-run. What is there already, is no JSON, has no such place, is larger than 1 MiB or is a job is left as it is, and counted. --where looks at the original. The same command again, after a kill, does what is left.',
  ],
  examples: [
    'millrace dlq get 17 --raw value > value.json',
    'millrace dlq edit 17 --file value.json --reason "price was a text"',
    `millrace dlq edit --app billing --where data.currency=GPB --set 'data.currency="GBP"' --dry-run`,
  ],
  async run(context) {
    const { args, out } = context
    const change = changeAsked(args)
    if (change !== undefined) return editMany(context, change)
    const value = await newValue(context)
    const others = Object.keys(SELECTION_OPTIONS).filter((name) => args.flag(name))
    if (args.positionals.length !== 1 || others.length > 0)
      throw usage('a whole value is for one dead letter, by its number; --set changes many')
    const id = deadLetterId(args.positionals[0]) as bigint
    return withOperator(context, { writes: true }, async ({ operator }) => {
      const letter = await getDeadLetter(operator.pool, id)
      const edits = await listEdits(operator.pool, id)
      const before = edits.length === 0 ? letter.value : (edits.at(-1)?.value ?? null)
      if (out.format === 'text') showChanges(out, changesOf(before, value))
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
    throw usage('to what? --value <text>, --file <file>, or --set <place=JSON> and --unset <place>')
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
