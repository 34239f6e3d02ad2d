import type { MillraceError } from '../errors/millrace-error.ts'
import { isMillraceError } from '../errors/millrace-error.ts'

/** What the exit code of a command says. Stable: scripts rely on it. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** With `--detailed-exitcode`: something is pending, or there are warnings. */
  changes: 3,
  /** Some of what was asked for was done, and some was not. */
  partial: 4,
  notFound: 5,
  cannotConnect: 6,
  /** Not done: not allowed, or not confirmed. */
  refused: 7,
  timedOut: 8,
  interrupted: 130,
} as const

/** One of {@link EXIT}. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

const BY_ERROR_CODE: Readonly<Partial<Record<MillraceError['code'], ExitCode>>> = {
  E_CLI_USAGE: EXIT.usage,
  E_DB_CONNECT: EXIT.cannotConnect,
  E_JOB_NOT_FOUND: EXIT.notFound,
  E_DLQ_NOT_FOUND: EXIT.notFound,
  E_REPLAY_NOT_FOUND: EXIT.notFound,
  E_TRACE_NOT_FOUND: EXIT.notFound,
  E_CONSUMER_NOT_FOUND: EXIT.notFound,
  E_LOG_UNKNOWN_TOPIC: EXIT.notFound,
}

/** The exit code of a command that failed with `error`. */
export function exitCodeOf(error: unknown): ExitCode {
  if (!isMillraceError(error)) return EXIT.failed
  return BY_ERROR_CODE[error.code] ?? EXIT.failed
}
