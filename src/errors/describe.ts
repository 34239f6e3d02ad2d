import { storableText } from '../core/storable-text.ts'
import { isMillraceError, MillraceError } from './millrace-error.ts'
import { kindOf } from './schema-issues.ts'
import { showPath } from './show-path.ts'

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
  /** Of data that do not match their schema: where, and what kind of complaint. At most 10. */
  readonly issues?: readonly ErrorIssue[]
  /** What the error itself says of its cause, by a property `fingerprint`: it is grouped by that alone. */
  readonly fingerprint?: string
}

/** A place in data that do not match their schema. */
export interface ErrorIssue {
  /** `data.items[3].name` */
  readonly path: string
  /** `invalid_type:string`; the complaint's text where the schema's library names no kind. */
  readonly kind: string
}

const NAME_LIMIT = 200
const MESSAGE_LIMIT = 4_000
const STACK_LIMIT = 8_000
const CAUSE_LIMIT = 5
const ISSUE_LIMIT = 10
const UNREADABLE = 'it cannot be read'

/**
 * `error` as plain data. Anything can be thrown, so anything is accepted: fields that are no strings, getters that throw,
 * proxies that were revoked. Never throws. NUL bytes, which Postgres refuses, are shown escaped.
 * @param options.stack whether its stack is kept. Default `true`.
 */
export function describeError(
  error: unknown,
  { stack: wanted = true }: { readonly stack?: boolean } = {},
): ErrorDescription {
  return safely<ErrorDescription>({ class: 'unknown', message: UNREADABLE }, () => {
    const causes: Pick<ErrorDescription, 'class' | 'code' | 'message'>[] = []
    let cause = causeOf(error)
    while (cause !== undefined && cause !== null && causes.length < CAUSE_LIMIT) {
      causes.push(brief(cause))
      cause = causeOf(cause)
    }
    const stack = wanted ? field(error, 'stack') : undefined
    const issues = issuesOf(error)
    const fingerprint = isError(error) ? field(error, 'fingerprint') : undefined
    return {
      ...brief(error),
      ...(typeof stack === 'string' ? { stack: cutStack(stack) } : {}),
      ...(causes.length === 0 ? {} : { causes }),
      ...(issues.length === 0 ? {} : { issues }),
      ...(typeof fingerprint === 'string' && fingerprint !== ''
        ? { fingerprint: clean(fingerprint, NAME_LIMIT) }
        : {}),
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

/** Of a schema's complaints: those that we found, or those that a schema's own error carries as `issues`. */
function issuesOf(error: unknown): ErrorIssue[] {
  if (!isError(error)) return []
  const found = isMillraceError(error)
    ? safely(undefined, () => error.details['problems'])
    : field(error, 'issues')
  if (!Array.isArray(found)) return []
  return safely<ErrorIssue[]>([], () =>
    found.slice(0, ISSUE_LIMIT).flatMap((issue: unknown) => {
      if (typeof issue !== 'object' || issue === null) return []
      const { path, message, kind } = issue as Readonly<Record<string, unknown>>
      const shown = kind ?? kindOf(issue) ?? message
      if (typeof shown !== 'string') return []
      const where = Array.isArray(path)
        ? showPath(path.map((part: unknown) => keyOf(part)))
        : String(path)
      return [{ path: clean(where, NAME_LIMIT), kind: clean(shown, NAME_LIMIT) }]
    }),
  )
}

/** A segment of a path, which some libraries wrap. */
function keyOf(part: unknown): PropertyKey {
  const key =
    typeof part === 'object' && part !== null ? (part as { readonly key?: unknown }).key : part
  return typeof key === 'number' || typeof key === 'symbol' ? key : String(key)
}

/** A message may be longer than what is kept; the frames behind it say where it was thrown, so it is cut before them. */
function cutStack(stack: string): string {
  if (stack.length <= STACK_LIMIT) return clean(stack, STACK_LIMIT)
  const frames = stack.slice(-STACK_LIMIT / 2).search(/(?:\n {4}at [^\n]*)+$/)
  if (frames < 0) return clean(stack, STACK_LIMIT)
  return `${clean(stack, STACK_LIMIT / 2)}${clean(stack.slice(-STACK_LIMIT / 2).slice(frames), STACK_LIMIT)}`
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

function field(
  value: unknown,
  name: 'stack' | 'message' | 'name' | 'code' | 'cause' | 'issues' | 'fingerprint',
): unknown {
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
  return storableText(cut)
}
