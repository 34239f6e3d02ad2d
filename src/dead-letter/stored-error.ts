import type { ErrorDescription, ErrorIssue } from '../errors/describe.ts'

/**
 * An error as it stands in a row. Whoever else wrote there may have written anything: what is no description is shown as
 * the message of an unknown one, so that one odd row never hides the others.
 */
export function storedError(value: unknown): ErrorDescription {
  const error = value as Partial<ErrorDescription> | null
  if (
    typeof error === 'object' &&
    error !== null &&
    typeof error.class === 'string' &&
    typeof error.message === 'string'
  ) {
    const { class: name, message, code, stack, causes, issues, fingerprint } = error
    return {
      class: name,
      message,
      ...(typeof code === 'string' ? { code } : {}),
      ...(typeof stack === 'string' ? { stack } : {}),
      ...(Array.isArray(causes) ? { causes: causes.map(storedCause) } : {}),
      ...(Array.isArray(issues) ? { issues: issues.filter(isIssue) } : {}),
      ...(typeof fingerprint === 'string' ? { fingerprint } : {}),
    }
  }
  return { class: 'unknown', message: JSON.stringify(value) ?? 'nothing' }
}

function isIssue(value: unknown): value is ErrorIssue {
  const issue = value as Partial<ErrorIssue> | null
  return (
    typeof issue === 'object' && typeof issue?.path === 'string' && typeof issue.kind === 'string'
  )
}

function storedCause(value: unknown): { class: string; code?: string; message: string } {
  const { class: name, code, message } = storedError(value)
  return { class: name, ...(code === undefined ? {} : { code }), message }
}
