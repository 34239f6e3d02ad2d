import { hash } from 'node:crypto'
import type { ErrorDescription } from '../errors/describe.ts'
import { framesOf } from './frames.ts'
import { normalizeMessage } from './normalize.ts'
import type { DeadLetterStage } from './stage.ts'

/** Of the rules below, stored beside each print. A change of what they give is a new version. */
export const FINGERPRINT_VERSION = 1

const DIGITS = 16
const FRAMES = 3
const CODE_LIMIT = 64
/** What our own texts about data begin with: the type is a word of the code, and says what failed. */
const SUBJECT = /^(?:event|args of job) '[^']*'/

/**
 * Sixteen hexadecimal digits that are the same for failures with the same cause: from the stage, the handler, class and code
 * of the error and of what caused it, its message with ids, numbers, times, addresses, quoted text and paths taken out, and
 * the topmost three frames of its stack that are the application's own, without line numbers.
 *
 * Of data that do not match their schema, places and kinds of the complaints count in place of the message. An error that
 * says its own `fingerprint` is known by that, its stage and its handler alone. The attempt, the record and the versions of
 * code and schema never count.
 */
export function fingerprintOf(failure: {
  readonly stage: DeadLetterStage
  readonly handler: string
  readonly error: ErrorDescription
}): string {
  const { stage, handler, error } = failure
  const parts: string[] = [stage, handler]
  if (error.fingerprint === undefined) {
    parts.push(kindOf(error), whatOf(error))
    for (const cause of error.causes ?? []) parts.push(kindOf(cause))
    parts.push(...framesOf(error, FRAMES))
  } else {
    parts.push('own', error.fingerprint)
  }
  // JSON keeps the parts apart, whatever is in them.
  return hash('sha256', JSON.stringify(parts), 'hex').slice(0, DIGITS)
}

function kindOf({ class: name, code }: Pick<ErrorDescription, 'class' | 'code'>): string {
  return code === undefined ? name : `${name} ${code.slice(0, CODE_LIMIT)}`
}

function whatOf({ class: name, message, issues, causes }: ErrorDescription): string {
  const ours = name === 'MillraceError'
  const subject = (ours && SUBJECT.exec(message)?.[0]) || ''
  if (issues !== undefined && issues.length > 0) {
    const places = issues.map(
      ({ path, kind }) => `${path.replace(/\[\d+\]/g, '[]')}:${normalizeMessage(kind)}`,
    )
    return `${subject} ${[...new Set(places)].sort().join(',')}`
  }
  const text = subject + normalizeMessage(message.slice(subject.length))
  // Ours says only who threw; what was thrown is the cause.
  const cause = ours ? causes?.[0] : undefined
  return cause === undefined ? text : `${text}: ${normalizeMessage(cause.message)}`
}
