import { MillraceError } from '../errors/millrace-error.ts'

/** One step into decoded JSON: a property, a place in an array, or, null, every place of it. */
export type PathStep = string | number | null

/**
 * Where a value is looked for. `data`: in the JSON of the record's value; `args`: of a discarded job; `header`: the header
 * of that name; `key`: the record's key.
 */
export type PayloadPath =
  | { readonly root: 'data' | 'args'; readonly steps: readonly PathStep[] }
  | { readonly root: 'header'; readonly name: string }
  | { readonly root: 'key' }

/** A value that is asked for, or its presence. */
export interface PayloadCondition {
  readonly path: PayloadPath
  /** `=` and `!=` need the value there; `present` only that it is there. */
  readonly operator: '=' | '!=' | 'present'
  /** A text, or a number, `true`, `false` or `null` as JSON writes it. */
  readonly value: string
}

const STEP = /^(?:\.([^.[\]=!]+)|\[(\d{1,9})\]|\[\]|\["((?:[^"\\]|\\.)*)"\])/
const STEPS = 32
const EXPECTED =
  'a place and what it is to be, as data.currency=GBP, data.items[].sku!=A-1, args.orderId=7, header.ce_type=SOLD, or a place alone'

/**
 * Reads `data.items[].currency=GBP`. Names with dots or brackets are put as `data["a.b"]`.
 * @throws E_CONFIG_INVALID
 */
export function parseCondition(text: string): PayloadCondition {
  const header = /^header\.(.+?)(?:(!?=)(.*))?$/s.exec(text)
  if (header !== null) return condition({ root: 'header', name: header[1] as string }, header)
  const key = /^key()(?:(!?=)(.*))?$/s.exec(text)
  if (key !== null) return condition({ root: 'key' }, key)
  const root = /^(data|args)(?=[.[=!]|$)/.exec(text)?.[1] as 'data' | 'args' | undefined
  if (root === undefined) throw wrong(text)
  const steps: PathStep[] = []
  let at = root.length
  for (;;) {
    const step = STEP.exec(text.slice(at))
    if (step === null) break
    if (steps.length === STEPS) throw wrong(text)
    const [whole, name, place, quoted] = step
    at += whole.length
    if (name !== undefined) steps.push(name)
    else if (place !== undefined) steps.push(Number(place))
    else steps.push(quoted === undefined ? null : unquoted(quoted, text))
  }
  const rest = /^()(?:(!?=)(.*))?$/s.exec(text.slice(at))
  if (rest === null) throw wrong(text)
  return condition({ root, steps }, rest)
}

function condition(path: PayloadPath, [, , operator, value]: RegExpExecArray): PayloadCondition {
  return operator === undefined
    ? { path, operator: 'present', value: '' }
    : { path, operator: operator as '=' | '!=', value: value ?? '' }
}

function unquoted(text: string, whole: string): string {
  try {
    return JSON.parse(`"${text}"`) as string
  } catch {
    throw wrong(whole)
  }
}

function wrong(text: string): MillraceError {
  return new MillraceError('E_CONFIG_INVALID', `expected ${EXPECTED}; got '${text}'`)
}

/** The values at `steps` of `data`. */
export function* valuesAt(data: unknown, steps: readonly PathStep[]): Generator<unknown> {
  const [step, ...rest] = steps
  if (step === undefined) {
    yield data
    return
  }
  if (typeof data !== 'object' || data === null) return
  if (Array.isArray(data)) {
    if (typeof step === 'number') yield* valuesAt(data[step], rest)
    else if (step === null) for (const item of data as unknown[]) yield* valuesAt(item, rest)
    return
  }
  if (step === null) return
  const name = String(step)
  if (Object.hasOwn(data, name)) yield* valuesAt((data as Record<string, unknown>)[name], rest)
}
