/** What an error of the database or its connection means for the statement that met it. */
export type DatabaseFailure =
  /** The database or the way to it is out of order: the same thing succeeds once it is back. */
  | 'unavailable'
  /** Two transactions got in each other's way: repeat the whole transaction. */
  | 'conflict'
  /** The statement or its values are wrong: it fails the same way every time. */
  | 'statement'

const UNAVAILABLE_CLASSES = new Set(['08', '53', '57', '58'])
const UNAVAILABLE_CODES = new Set([
  '25006', // read-only: a standby, or a failover in progress
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EAI_AGAIN',
])
const CONFLICT_CODES = new Set(['40001', '40P01', '55P03', '40003'])
/** Classes 22 (data exception), 23 (constraint) and 42 (syntax or access rule) and the like. */
const SQLSTATE = /^[0-9A-Z]{5}$/
const CONNECTION_TEXT =
  /connection terminated|client has encountered a connection error|connection timeout|timeout exceeded when trying to connect|query read timeout|client was closed|not queryable/i

/** Whether one connection broke under a statement; the database may be as well as ever. */
export function isBrokenConnection(error: unknown): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown }
  if (typeof code === 'string') return code === '57P01' || code === 'ECONNRESET' || code === 'EPIPE'
  return /connection terminated/i.test(String(message))
}

/** Judges `error`, or says `undefined` when it is not the database's. */
export function classifyDatabaseError(error: unknown): DatabaseFailure | undefined {
  if (!(error instanceof Error)) return undefined
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string') {
    if (UNAVAILABLE_CODES.has(code)) return 'unavailable'
    // A statement time-out or a cancel: this statement's own matter, not the database's.
    if (code === '57014') return 'statement'
    if (SQLSTATE.test(code) && UNAVAILABLE_CLASSES.has(code.slice(0, 2))) return 'unavailable'
    if (CONFLICT_CODES.has(code)) return 'conflict'
    if (SQLSTATE.test(code) && 'severity' in error) return 'statement'
  }
  if (CONNECTION_TEXT.test(error.message)) return 'unavailable'
  return undefined
}
