import { isMillraceError, MillraceError } from './millrace-error.ts'

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

const NAME_LIMIT = 200
const MESSAGE_LIMIT = 4_000
const STACK_LIMIT = 8_000
const CAUSE_LIMIT = 5
const UNREADABLE = 'it cannot be read'

/**
 * `error` as plain data. Anything can be thrown, so anything is accepted: fields that are no strings, getters that throw,
 * proxies that were revoked. Never throws. NUL bytes, which Postgres refuses, are shown escaped.
 */
export function describeError(error: unknown): ErrorDescription {
  return safely<ErrorDescription>({ class: 'unknown', message: UNREADABLE }, () => {
    const causes: Pick<ErrorDescription, 'class' | 'code' | 'message'>[] = []
    let cause = causeOf(error)
    while (cause !== undefined && cause !== null && causes.length < CAUSE_LIMIT) {
      causes.push(brief(cause))
      cause = causeOf(cause)
    }
    const stack = field(error, 'stack')
    return {
      ...brief(error),
      ...(typeof stack === 'string' ? { stack: clean(stack, STACK_LIMIT) } : {}),
      ...(causes.length === 0 ? {} : { causes }),
    }
  })
}

/** Whatever was thrown, as an error that can be looked at: itself if it is one, else E_HANDLER with its description. */
export function thrownError(thrown: unknown): Error {
  if (isError(thrown)) return thrown
  return new MillraceError(
    'E_HANDLER',
    `something that is no error was thrown: ${describeValue(thrown)}`,
  )
}

/** Any value as a text, whatever it is. Never throws. */
export function describeValue(value: unknown, limit: number = MESSAGE_LIMIT): string {
  return safely(UNREADABLE, () =>
    clean(
      typeof value === 'object' && value !== null
        ? (JSON.stringify(value) ?? UNREADABLE)
        : String(value),
      limit,
    ),
  )
}

function brief(error: unknown): Pick<ErrorDescription, 'class' | 'code' | 'message'> {
  if (!isError(error)) return { class: typeof error, message: describeValue(error) }
  const code = isMillraceError(error) ? error.code : field(error, 'code')
  const message = field(error, 'message')
  return {
    class: clean(className(error), NAME_LIMIT),
    ...(typeof code === 'string' ? { code: clean(code, NAME_LIMIT) } : {}),
    message: typeof message === 'string' ? clean(message, MESSAGE_LIMIT) : describeValue(message),
  }
}

function className(error: Error): string {
  const name = field(error, 'name')
  if (typeof name === 'string' && name !== 'Error' && name !== '') return name
  const constructed = safely('Error', () => error.constructor.name)
  return typeof constructed === 'string' && constructed !== '' ? constructed : 'Error'
}

function causeOf(error: unknown): unknown {
  return isError(error) ? field(error, 'cause') : undefined
}

function isError(value: unknown): value is Error {
  return safely(false, () => value instanceof Error)
}

function field(value: unknown, name: 'stack' | 'message' | 'name' | 'code' | 'cause'): unknown {
  return safely(undefined, () => (value as Readonly<Record<string, unknown>>)[name])
}

function safely<T>(otherwise: T, read: () => T): T {
  try {
    return read()
  } catch {
    // Whatever was thrown defends itself against being looked at; that is all that can be said of it.
    return otherwise
  }
}

function clean(text: string, limit: number): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}…` : text
  return cut.toWellFormed().replaceAll('\u0000', '\\u0000')
}
