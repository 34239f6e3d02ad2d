import type { Core } from '../core/core.ts'
import type { ExitCode } from './exit-codes.ts'
import type { Arguments, OptionSet } from './options.ts'
import type { Output } from './output.ts'

/** What a command gets. */
export interface CommandContext {
  /** Its name as typed: `jobs list`. */
  readonly name: string
  readonly args: Arguments
  readonly out: Output
  readonly core: Core
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stdin: NodeJS.ReadStream
  /**
   * From now on the first SIGINT or SIGTERM aborts `first` instead of ending the process; with `twice` the second aborts
   * `second`. All later ones end the process.
   */
  interrupts(options?: { readonly twice?: boolean }): Interrupts
}

/** What is aborted by signals. */
export interface Interrupts {
  readonly first: AbortSignal
  readonly second: AbortSignal
}

/** One command of the command line, with what its help says. */
export interface Command {
  readonly summary: string
  /** Its positional arguments, as in the help: `<id>…`. Default none. */
  readonly usage?: string
  /** How many positional arguments it takes. Default none. */
  readonly positionals?: { readonly min: number; readonly max: number }
  readonly options: OptionSet
  /** What one ought to know beside the options. */
  readonly notes?: readonly string[]
  readonly examples?: readonly string[]
  run(context: CommandContext): Promise<ExitCode>
}
