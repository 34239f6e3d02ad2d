import { readJsonText, readUtf8, type Payload } from './payload.ts'

/** A value that all of a sample have in common, or nearly all. */
export interface CommonField {
  /** As a search takes it: `data.items[].currency`, `header.x-tenant`; or `producer`, `event type`, `code version`, … */
  readonly field: string
  /** As JSON writes it; texts are cut at 200 characters. */
  readonly value: string
  readonly records: number
  /** Of the sample. From 0.9 to 1. */
  readonly share: number
}

/** From which share on a value counts as common. */
const COMMON = 0.9
const FIELDS = 500
/** With more values than this a field varies: of a thousand records, none of them can be common. */
const VALUES = 100
const DEPTH = 8
const PLACES = 100
const TEXT_LIMIT = 200
/** Told under a name of their own. */
const TOLD: ReadonlySet<string> = new Set(['ce_type', 'ce_source', 'ce_specversion'])

/** Counts what the payloads of a sample have in common. What it keeps is bounded, whatever they carry. */
export class FieldReport {
  readonly #fields = new Map<string, Map<string, number>>()
  #records = 0
  #notJson = 0
  #tooLarge = 0

  /** Payloads counted so far, how many of them carry no JSON, and how many are too large to be looked into. */
  get looked(): { readonly records: number; readonly notJson: number; readonly tooLarge: number } {
    return { records: this.#records, notJson: this.#notJson, tooLarge: this.#tooLarge }
  }

  add(payload: Payload): void {
    this.#records += 1
    const seen = new Set<string>()
    const note = (field: string, value: unknown): void => this.#note(seen, field, value)
    note('handler', payload.handler)
    note('topic', payload.topic ?? undefined)
    note('event type', payload.eventType ?? undefined)
    note('event version', payload.eventVersion ?? undefined)
    note('producer', payload.producer ?? undefined)
    note('code version', payload.codeVersion ?? undefined)
    note('key', readUtf8(payload.key))
    for (const [name, bytes] of payload.headers.slice(0, FIELDS)) {
      if (!TOLD.has(name)) note(`header.${name.slice(0, TEXT_LIMIT)}`, readUtf8(bytes))
    }
    if (payload.tooLarge) {
      this.#tooLarge += 1
      return
    }
    const value = readUtf8(payload.value)
    for (const [root, text] of [
      ['data', value],
      ['args', payload.argsJson ?? undefined],
    ] as const) {
      const data = text === undefined ? undefined : readJsonText(text)
      if (data !== undefined) walk(root, data, DEPTH, note)
      else if (root === 'data' && payload.value !== null) this.#notJson += 1
    }
  }

  /** What is common, most common first. */
  common(): CommonField[] {
    const found: CommonField[] = []
    for (const [field, values] of this.#fields) {
      for (const [value, records] of values) {
        const share = records / this.#records
        if (share >= COMMON) found.push({ field, value, records, share })
      }
    }
    return found.sort((a, b) => b.records - a.records)
  }

  #note(seen: Set<string>, field: string, value: unknown): void {
    if (value === undefined || (typeof value === 'object' && value !== null)) return
    let values = this.#fields.get(field)
    if (values === undefined) {
      if (this.#fields.size >= FIELDS) return
      values = new Map()
      this.#fields.set(field, values)
    }
    const shown = show(value)
    // Once per record, however often it is in a list.
    const once = `${field} ${shown}`
    if (seen.has(once) || seen.size > 10 * FIELDS) return
    seen.add(once)
    const count = values.get(shown)
    if (count !== undefined) values.set(shown, count + 1)
    else if (values.size < VALUES) values.set(shown, 1)
  }
}

function walk(
  field: string,
  data: unknown,
  depth: number,
  note: (field: string, value: unknown) => void,
): void {
  if (typeof data !== 'object' || data === null) {
    note(field, data)
  } else if (depth > 0 && Array.isArray(data)) {
    for (const item of data.slice(0, PLACES)) walk(`${field}[]`, item, depth - 1, note)
  } else if (depth > 0) {
    let left = FIELDS
    for (const [name, value] of Object.entries(data)) {
      if (left === 0) return
      left -= 1
      walk(`${field}${stepOf(name.slice(0, TEXT_LIMIT))}`, value, depth - 1, note)
    }
  }
}

/** A property as a search takes it. */
function stepOf(name: string): string {
  return /^[^.[\]=!\s]+$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`
}

function show(value: unknown): string {
  if (typeof value !== 'string') return String(value)
  return JSON.stringify(value.length > TEXT_LIMIT ? `${value.slice(0, TEXT_LIMIT)}…` : value)
}
