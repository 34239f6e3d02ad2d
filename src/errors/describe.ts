import { isMillraceError } from './millrace-error.ts'

/** An error as it is stored and shown: plain data, bounded in size. */
export interface ErrorDescription {
  /** The error's class. */
  readonly class: string
  /** Our code, a driver's or the system's, if it has one. */
  readonly code?: string
  readonly message: string
  readonly stack?: string
  /** What it was caused by, outermost first; at most 5. */
  readonly causes?: readonly {
    readonly class: string
    readonly code?: string
    readonly message: string
  }[]
}

const MESSAGE_LIMIT = 4_000
const STACK_LIMIT = 8_000
const CAUSE_LIMIT = 5

/** `error` as plain data. Anything can be thrown, so anything is accepted; NUL bytes, which Postgres refuses, are shown escaped. */
export function describeError(error: unknown): ErrorDescription {
  const causes: { class: string; code?: string; message: string }[] = []
  let cause = error instanceof Error ? error.cause : undefined
  while (cause !== undefined && cause !== null && causes.length < CAUSE_LIMIT) {
    causes.push(brief(cause))
    cause = cause instanceof Error ? cause.cause : undefined
  }
  const stack = error instanceof Error && error.stack ? clean(error.stack, STACK_LIMIT) : undefined
  return {
    ...brief(error),
    ...(stack === undefined ? {} : { stack }),
    ...(causes.length === 0 ? {} : { causes }),
  }
}

function brief(error: unknown): { class: string; code?: string; message: string } {
  if (!(error instanceof Error))
    return { class: typeof error, message: clean(String(error), MESSAGE_LIMIT) }
  const code = isMillraceError(error) ? error.code : (error as { code?: unknown }).code
  return {
    class: clean(error.name === 'Error' ? error.constructor.name : error.name, 200),
    ...(typeof code === 'string' ? { code: clean(code, 200) } : {}),
    message: clean(error.message, MESSAGE_LIMIT),
  }
}

function clean(text: string, limit: number): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}…` : text
  return cut.toWellFormed().replaceAll('\u0000', '\\u0000')
}
