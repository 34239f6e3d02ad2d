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
const OURS = 'MillraceError'
/** What our own texts about data begin with: the type is a word of the code, and says what failed. */
const SUBJECT = /^(?:event|args of job) '[^']*'/
/** The parts of a place that `showPath` wrote: `.name`, `["a name"]`, which may be cut off, and `[3]`. */
const PART = /\.([\w$…-]+)|\["((?:[^"\\]|\\.)*)(?:"?\]|"?$)|\[\d+\]/g
const FIELD = /^[\p{L}_$@][\p{L}\p{N}_$-]*$/u

/**
 * Sixteen hexadecimal digits that are the same for failures with the same cause: from the stage, the handler, class and code
 * of the error and of what caused it, its message with ids, numbers, times, addresses, quoted text and paths taken out, and
 * the topmost three frames of its stack that are the application's own, without line numbers.
 *
 * Of data that do not match their schema, places and kinds of the complaints count in place of the message; a place in a list
 * and a key of a map are no more told apart than an id in a message is. Nothing says which names are keys, so a key that looks
 * like a name of a field, such as a currency, counts as one. An error that
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

/**
 * What an error says, in one line that may leave the house: ids, numbers and quoted text are taken out, and of data that do
 * not match their schema only the kinds of the complaints are told, for a place may have a key in it that is somebody's name.
 */
export function withoutData(error: ErrorDescription): string {
  const { message, issues = [] } = error
  if (issues.length === 0) return normalizeMessage(message)
  const subject = subjectOf(error)
  const kinds = [...new Set(issues.map(({ kind }) => normalizeMessage(kind)))].sort()
  return `${subject === '' ? 'data' : subject} does not match its schema: ${kinds.join(', ')}`
}

function kindOf({ class: name, code }: Pick<ErrorDescription, 'class' | 'code'>): string {
  return code === undefined ? name : `${name} ${code.slice(0, CODE_LIMIT)}`
}

function whatOf(error: ErrorDescription): string {
  const { class: name, message, issues, causes } = error
  const subject = subjectOf(error)
  if (issues !== undefined && issues.length > 0) {
    const places = issues.map(({ path, kind }) => `${placeOf(path)}:${normalizeMessage(kind)}`)
    return `${subject} ${[...new Set(places)].sort().join(',')}`
  }
  const text = subject + normalizeMessage(message.slice(subject.length))
  // Ours says only who threw; what was thrown is the cause.
  const cause = name === OURS ? causes?.[0] : undefined
  return cause === undefined ? text : `${text}: ${normalizeMessage(cause.message)}`
}

function subjectOf({ class: name, message }: ErrorDescription): string {
  return (name === OURS && SUBJECT.exec(message)?.[0]) || ''
}

/** `data.items[3].prices.SKU-1` as `data.items[].prices.*`. */
function placeOf(path: string): string {
  return path.replace(PART, (part, plain: string | undefined, quoted: string | undefined) => {
    const name = plain ?? quoted
    if (name === undefined) return '[]'
    return looksLikeField(name) ? part : '.*'
  })
}

/** Whether it is written as fields are, and not as ids, numbers, times and sentences: `line1`, but not `SKU-1` and `x1y2`. */
function looksLikeField(name: string): boolean {
  return FIELD.test(name) && !/\d\D+\d/.test(name) && normalizeMessage(name) === name
}
