import { MillraceError } from '../errors/millrace-error.ts'
import { readUtf8 } from './payload.ts'
import { parseAssignment, parsePlace, type PathStep } from './payload-path.ts'

/** What is to become of the JSON of a value. Done twice it gives what it gave once. */
export interface ValueChange {
  /** Places and what is to stand there, as JSON: `data.currency="EUR"`. */
  readonly set?: readonly string[]
  /** Places that are to be there no more: `data.items[].note`. */
  readonly unset?: readonly string[]
}

/** What a change makes of one value. */
export type ChangedValue =
  | { readonly outcome: 'changed'; readonly value: Uint8Array }
  /** It is as the change wants it already. */
  | { readonly outcome: 'unchanged' }
  | { readonly outcome: 'not-json' }
  /** There is nothing that the place to set could be in. */
  | { readonly outcome: 'no-place' }

/** Written out as it is; TypeScript does not know it yet. */
const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(text: string): unknown
  isRawJSON(value: unknown): boolean
}

interface Operation {
  readonly steps: readonly PathStep[]
  /** As JSON; undefined: it is to go. */
  readonly text: string | undefined
}

/**
 * Gives the function that changes a value: all operations, in the order of `set` and then `unset`, or none. Numbers stay as
 * they are written; white space does not.
 * @throws E_CONFIG_INVALID when there is no operation, or one that cannot be read.
 */
export function changeOf({
  set = [],
  unset = [],
}: ValueChange): (value: Uint8Array | null) => ChangedValue {
  const operations: Operation[] = [
    ...set.map((text) => {
      const { steps, value } = parseAssignment(text)
      if (parse(value) === undefined)
        throw wrong(
          `'${value}' is no JSON; a text needs its quotes, as in data.currency="EUR"`,
          text,
        )
      return { steps, text: value }
    }),
    ...unset.map((text) => ({ steps: parsePlace(text), text: undefined })),
  ]
  if (operations.length === 0) throw wrong('nothing is to be set or unset', '')
  for (const [index, { steps }] of operations.entries()) {
    const text = [...set, ...unset][index] as string
    if (steps.length === 0) throw wrong('the whole value is not changed for many at once', text)
    if (index >= set.length && typeof steps.at(-1) !== 'string')
      throw wrong('only a name is taken out, or its places would move', text)
  }
  return (value) => changed(value, operations)
}

function changed(value: Uint8Array | null, operations: readonly Operation[]): ChangedValue {
  const text = readUtf8(value)
  const data = text === undefined ? undefined : parse(text)
  if (data === undefined) return { outcome: 'not-json' }
  const before = JSON.stringify(data)
  for (const { steps, text: wanted } of operations) {
    let found = false
    for (const [holder, step] of holdersOf(data, steps)) {
      found = true
      put(holder, step, wanted)
    }
    if (!found && wanted !== undefined) return { outcome: 'no-place' }
  }
  const after = JSON.stringify(data)
  return after === before
    ? { outcome: 'unchanged' }
    : { outcome: 'changed', value: Buffer.from(after) }
}

type Holder = Record<string | number, unknown>

/** What holds the last of `steps`, with the step itself; a place in a list only where it is there. */
function* holdersOf(
  data: unknown,
  [step, ...rest]: readonly PathStep[],
): Generator<readonly [holder: Holder, step: string | number]> {
  if (step === undefined || typeof data !== 'object' || data === null || isRawJSON(data)) return
  const isList = Array.isArray(data)
  if (isList === (typeof step === 'string')) return
  const places = step === null ? Object.keys(data).map(Number) : [step]
  for (const place of places) {
    const isThere = Object.hasOwn(data, place)
    if (rest.length > 0) {
      if (isThere) yield* holdersOf((data as Holder)[place], rest)
    } else if (isThere || !isList) yield [data as Holder, place]
  }
}

function put(holder: Holder, step: string | number, wanted: string | undefined): void {
  if (wanted === undefined) Reflect.deleteProperty(holder, step)
  // An assignment to `__proto__` would be lost.
  else
    Object.defineProperty(holder, step, {
      value: parse(wanted),
      enumerable: true,
      configurable: true,
      writable: true,
    })
}

/** JSON with its numbers as they are written; undefined: it is none, or nested too deep to be walked. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text, asWritten) as unknown
  } catch {
    return undefined
  }
}

function asWritten(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === 'number' && context?.source !== undefined
    ? rawJSON(context.source)
    : value
}

function wrong(why: string, text: string): MillraceError {
  return new MillraceError('E_CONFIG_INVALID', text === '' ? why : `${text}: ${why}`)
}
