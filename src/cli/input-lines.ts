import { createReadStream } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { CommandContext } from './command.ts'
import { CliError, usage } from './errors.ts'

/** A line of input with where it stands, for people. */
export interface InputLine {
  readonly place: string
  readonly text: string
}

/**
 * The JSON documents that a command is given: `--data`, the lines of `--file` (`-`: stdin), or those of stdin. Empty lines
 * are passed over; nothing is held but the line at hand.
 * @throws E_CLI_USAGE when there is nothing to read.
 */
export async function* inputLines(context: CommandContext): AsyncGenerator<InputLine, void, void> {
  const { args, stdin, cwd } = context
  const data = args.text('data')
  const file = args.text('file')
  if (data !== undefined && file !== undefined) throw usage('--data and --file exclude each other')
  if (data !== undefined) {
    yield { place: '--data', text: data }
    return
  }
  const fromStdin = file === undefined || file === '-'
  if (fromStdin && stdin.isTTY)
    throw usage('nothing to publish: give --data <json>, --file <jsonl>, or lines of JSON on stdin')
  const input = fromStdin ? stdin : createReadStream(resolve(cwd, file))
  const name = fromStdin ? 'stdin' : file
  let number = 0
  try {
    for await (const text of createInterface({ input, crlfDelay: Infinity })) {
      number += 1
      if (text.trim() !== '') yield { place: `${name} line ${number}`, text }
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new CliError('E_CLI_NOT_FOUND', `${name} cannot be read: ${why}`, { cause: error })
  }
}
