import type { ErrorCode } from './codes.ts'

/** A property that tells our errors, also those of another copy of the package. */
const BRAND = 'millraceError'

/** What an error of ours carries beside its text. */
export interface MillraceErrorOptions {
  /** Whether the same thing may succeed later. Default `false`. */
  readonly retryable?: boolean
  /** Facts for logs and for people; never whole `args`, `data` or secrets. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** The one class of errors that millrace throws. Recognise it by `code`, or by {@link isMillraceError}. */
export class MillraceError extends Error {
  override readonly name: string = 'MillraceError'
  /** Stable; see the catalogue in `codes.ts`. */
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>
  /** Tells our errors, also those of another copy of the package. @internal */
  readonly millraceError = true

  constructor(code: ErrorCode, message: string, options: MillraceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details ?? {}
  }
}

/** Whether `error` is ours, also when it comes from another copy of the package. */
export function isMillraceError(error: unknown): error is MillraceError {
  try {
    return typeof error === 'object' && error !== null && BRAND in error
  } catch {
    // A proxy that was revoked, or that refuses: not ours.
    return false
  }
}

/**
 * An error that says: this will fail the same way for ever, do not try again. A record becomes a dead letter at once, a
 * job is discarded.
 */
export function permanent(
  message: string,
  options: Omit<MillraceErrorOptions, 'retryable'> = {},
): MillraceError {
  return new MillraceError('E_PERMANENT', message, { ...options, retryable: false })
}
