import type { ErrorCode } from './codes.ts'

/** Errors that come back the same way however often one tries: of records and of jobs alike. */
export const PERMANENT_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'E_PERMANENT',
  'E_EVENT_INVALID',
  'E_EVENT_UNDECODABLE',
  'E_EVENT_VERSION',
  'E_EVENT_TOO_LARGE',
])
