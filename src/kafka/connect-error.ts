import { MillraceError } from '../errors/millrace-error.ts'

/** How a connection was to be made; its secrets are not looked at. */
export interface Manner {
  readonly tls: object | undefined
  readonly sasl: { readonly mechanism: string } | undefined
}

/** E_LOG_CONNECT that says what happened, not only where: the client's outer errors only name the broker again. */
export function connectError(
  { host, port }: { readonly host: string; readonly port: number },
  error: unknown,
  manner: Manner,
): MillraceError {
  const why = loginRefused(error, manner) ?? closed(error, manner) ?? innermost(error)
  return new MillraceError('E_LOG_CONNECT', `no connection to broker ${host}:${port}: ${why}`, {
    retryable: true,
    details: { host, port },
    cause: error,
  })
}

/** What the broker said about our login; undefined when that is not what went wrong. */
function loginRefused(error: unknown, { sasl }: Manner): string | undefined {
  for (const one of causes(error)) {
    for (const inner of one instanceof AggregateError ? one.errors : []) {
      const { apiId, serverErrorMessage } = inner as {
        readonly apiId?: unknown
        readonly serverErrorMessage?: unknown
      }
      if (apiId === 'UNSUPPORTED_SASL_MECHANISM') {
        const { response } = one as { readonly response?: { readonly mechanisms?: unknown } }
        const offered = Array.isArray(response?.mechanisms) ? response.mechanisms.join(', ') : ''
        return `it does not take logins by ${sasl?.mechanism ?? 'that mechanism'}, but by ${offered || 'others'}`
      }
      if (apiId === 'SASL_AUTHENTICATION_FAILED') {
        const words = typeof serverErrorMessage === 'string' ? serverErrorMessage : apiId
        return `it refused the login by ${sasl?.mechanism ?? 'SASL'}: ${words}`
      }
    }
  }
  return undefined
}

/** A broker that wants something else closes the connection without a word. */
function closed(error: unknown, { tls, sasl }: Manner): string | undefined {
  const text = innermost(error)
  if (!/^Connection closed$|disconnected before secure TLS|ECONNRESET/.test(text)) return undefined
  if (tls === undefined) {
    const login = sasl === undefined ? ', or a login' : ''
    return `it closed the connection; perhaps it demands TLS${login}`
  }
  if (text !== 'Connection closed') return `${text}; perhaps it does not speak TLS at that port`
  const wanted = sasl === undefined ? 'a certificate of the client, or a login' : 'another login'
  return `it closed the connection; perhaps it demands ${wanted}`
}

function innermost(error: unknown): string {
  const last = causes(error).at(-1)
  return last instanceof Error ? last.message : String(last)
}

function causes(error: unknown): unknown[] {
  const all = [error]
  let at = error
  while (at instanceof Error && at.cause instanceof Error) {
    at = at.cause
    all.push(at)
  }
  return all
}

/**
 * A broker says that a bearer token is not good in an answer that looks like a success; the client's own check of it calls
 * back twice.
 * @throws when it is not good.
 */
export function checkBearerAnswer(answer: Uint8Array): void {
  if (answer.length === 0) return
  const text = Buffer.from(answer).toString('utf8')
  const status = /"status"\s*:\s*"([\w .-]{1,100})"/.exec(text)?.[1]
  throw new Error(`it refused the login by OAUTHBEARER: ${status ?? 'the token is not good'}`)
}
