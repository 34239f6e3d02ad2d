import { createInterface } from 'node:readline/promises'
import type { CommandContext } from './command.ts'
import { CliError } from './errors.ts'
import type { OptionSet } from './options.ts'

/** More rows than this are only changed when somebody says so. */
export const CONFIRM_ABOVE = 100

/** What every command understands that asks for a confirmation. */
export const CONFIRM_OPTIONS: OptionSet = {
  yes: { type: 'boolean', help: `do not ask when there are more than ${CONFIRM_ABOVE}` },
}

/**
 * Asks whether `count` rows may be changed, if they are many, or if nobody knows how many they are.
 * @param count `null`: not known.
 * @throws E_CLI_NOT_CONFIRMED when the answer is not yes, or when nobody can be asked.
 */
export async function confirmMany(
  context: CommandContext,
  count: number | null,
  what: string,
): Promise<void> {
  if ((count !== null && count <= CONFIRM_ABOVE) || context.args.flag('yes')) return
  if (!context.stdin.isTTY) {
    const many = count === null ? 'and nobody knows how many' : `more than ${CONFIRM_ABOVE} at once`
    throw new CliError(
      'E_CLI_NOT_CONFIRMED',
      `this would ${what}, ${many}, and there is no terminal to confirm it on`,
      {
        next: `the same command with --dry-run to see them, or with --yes to do it`,
      },
    )
  }
  const terminal = createInterface({ input: context.stdin, output: process.stderr })
  const answer = await terminal
    .question(`This would ${what}. Go on? [y/N] `)
    .finally(() => terminal.close())
  if (!/^y(es)?$/i.test(answer.trim())) {
    throw new CliError('E_CLI_NOT_CONFIRMED', 'not confirmed; nothing was done')
  }
}
