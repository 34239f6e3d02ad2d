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
  const { steps, end } = stepsOf(text, root.length)
  const rest = /^()(?:(!?=)(.*))?$/s.exec(text.slice(end))
  if (rest === null) throw wrong(text)
  return condition({ root, steps }, rest)
}

/**
 * Reads `data.items[].currency`, a place in the JSON of a value.
 * @throws E_CONFIG_INVALID
 */
export function parsePlace(text: string): readonly PathStep[] {
  const { steps, end } = /^data(?=[.[]|$)/.test(text) ? stepsOf(text, 4) : { steps: [], end: -1 }
  if (end !== text.length) throw notPlace(text, 'a place in the value, as data.items[].currency')
  return steps
}

/**
 * Reads `data.currency="EUR"`, a place in the JSON of a value and what is to stand there.
 * @throws E_CONFIG_INVALID
 */
export function parseAssignment(text: string): {
  readonly steps: readonly PathStep[]
  readonly value: string
} {
  const { steps, end } = /^data(?=[.[=])/.test(text) ? stepsOf(text, 4) : { steps: [], end: -1 }
  if (text[end] !== '=')
    throw notPlace(text, 'a place in the value and JSON, as data.currency="EUR"')
  return { steps, value: text.slice(end + 1) }
}

/** The steps from `at` on, and where they end. */
function stepsOf(text: string, at: number): { readonly steps: PathStep[]; readonly end: number } {
  const steps: PathStep[] = []
  let end = at
  for (;;) {
    const step = STEP.exec(text.slice(end))
    if (step === null) return { steps, end }
    if (steps.length === STEPS) throw wrong(text)
    const [whole, name, place, quoted] = step
    end += whole.length
    if (name !== undefined) steps.push(name)
    else if (place !== undefined) steps.push(Number(place))
    else steps.push(quoted === undefined ? null : unquoted(quoted, text))
  }
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

function notPlace(text: string, expected: string): MillraceError {
  return new MillraceError('E_CONFIG_INVALID', `expected ${expected}; got '${text}'`)
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
