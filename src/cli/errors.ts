import { ERROR_CODES, type ErrorCode } from '../errors/codes.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import { redact } from '../errors/redact.ts'
import { EXIT, exitCodeOf, type ExitCode } from './exit-codes.ts'
import { safeJson, safeLine, safeLines } from './safe-text.ts'

/** What can go wrong on the command line only. */
export type CliErrorCode = Extract<ErrorCode, `E_CLI_${string}`>

const EXIT_CODES: Readonly<Record<CliErrorCode, ExitCode>> = {
  E_CLI_USAGE: EXIT.usage,
  E_CLI_NO_DATABASE: EXIT.usage,
  E_CLI_NO_KAFKA: EXIT.failed,
  E_CLI_CONFIG: EXIT.usage,
  E_CLI_NOT_FOUND: EXIT.notFound,
  E_CLI_NO_PERMISSION: EXIT.refused,
  E_CLI_NOT_CONFIRMED: EXIT.refused,
}

/** What a command could not do, why, and what to try next. */
export class CliError extends MillraceError {
  override readonly name = 'CliError'
  /** The next command to try, if there is one. */
  readonly next: string | undefined

  constructor(
    code: CliErrorCode,
    message: string,
    options: { readonly next?: string; readonly cause?: unknown } = {},
  ) {
    super(code, message, options.cause === undefined ? {} : { cause: options.cause })
    this.next = options.next
  }
}

/** A mistake on the command line. */
export function usage(message: string, next?: string): CliError {
  return new CliError('E_CLI_USAGE', message, next === undefined ? {} : { next })
}

/** An error as it is shown: to people as lines, to programs as one line of JSON. */
export interface ShownError {
  readonly code: string
  readonly message: string
  readonly next: string
  readonly exitCode: ExitCode
}

const NEXT: Readonly<Partial<Record<ErrorCode, string>>> = {
  E_DB_CONNECT: 'millrace doctor',
  E_DB_MIGRATION: 'millrace migrate status',
  E_DB_VERSION: 'millrace doctor',
  E_JOB_NOT_FOUND: 'millrace jobs list',
  E_JOB_STATE: 'millrace jobs get <id>',
  E_DLQ_NOT_FOUND: 'millrace dlq list',
  E_DLQ_STATE: 'millrace dlq get <number>',
  E_REPLAY_NOT_FOUND: 'millrace replays list',
  E_REPLAY_STATE: 'millrace replays list',
  E_TRACE_NOT_FOUND: 'millrace events tail --from 15m',
  E_CONSUMER_NOT_FOUND: 'millrace consumers list',
  E_CONSUMER_STATE: 'millrace consumers list',
  E_OUTBOX_STATE: 'millrace outbox status',
  E_LOG_UNKNOWN_TOPIC: 'millrace events tail --from 15m',
}

/** What is said of `error`, without passwords. */
export function shownError(error: unknown, command: string): ShownError {
  const help = `millrace ${command === '' ? '' : `${command} `}--help`
  if (error instanceof CliError) {
    return {
      code: error.code,
      message: redact(error.message),
      next: error.next ?? help,
      exitCode: EXIT_CODES[error.code as CliErrorCode],
    }
  }
  if (isMillraceError(error)) {
    return {
      code: error.code,
      message: redact(error.message),
      next: NEXT[error.code] ?? ERROR_CODES[error.code] ?? help,
      exitCode: exitCodeOf(error),
    }
  }
  const { class: name, code, message } = describeError(error)
  return {
    code: code === undefined ? 'E_UNEXPECTED' : `E_UNEXPECTED_${code}`,
    message: redact(`${name}: ${message}`),
    next: 'millrace doctor',
    exitCode: EXIT.failed,
  }
}

/** `shown` as the text that goes to stderr, with its line breaks. */
export function formatError(
  shown: ShownError,
  format: 'text' | 'json',
  heading: (text: string) => string,
): string {
  const { code, message, next } = shown
  if (format === 'json') return `${safeJson({ error: { code, message, next } })}\n`
  return `${heading('error')} ${safeLines(message).replaceAll('\n', '\n  ')}\n  code ${safeLine(code)}\n  next ${safeLine(next)}\n`
}
