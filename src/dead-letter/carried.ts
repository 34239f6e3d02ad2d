import { readJsonText, readUtf8, type Payload } from './payload.ts'
import { valuesAt, type PayloadCondition } from './payload-path.ts'
import { storedError } from './stored-error.ts'

/** What dead letters must carry, and what their error must say. All given conditions hold at once. */
export interface CarriedConditions {
  /** What the record or the job must carry. */
  readonly where?: PayloadCondition
  /** A part of the error's class, code or message, or of one of its causes'; upper and lower case are the same. */
  readonly text?: string
}

/** Whether a dead letter fits; or why nobody can know. */
export type Found = 'yes' | 'no' | 'not-json' | 'too-large'

/** Looks at what was set aside, not at later edits of it. */
export function fits(payload: Payload, { where, text }: CarriedConditions): Found {
  if (text !== undefined && !tells(payload, text.toLowerCase())) return 'no'
  return where === undefined ? 'yes' : carries(payload, where)
}

function tells({ error }: Payload, text: string): boolean {
  const { causes = [], ...own } = storedError(error)
  return [own, ...causes].some(
    ({ class: name, code, message }) =>
      name.toLowerCase().includes(text) ||
      message.toLowerCase().includes(text) ||
      code?.toLowerCase().includes(text) === true,
  )
}

function carries(payload: Payload, { path, operator, value }: PayloadCondition): Found {
  const some = (values: Iterable<unknown>): Found => {
    for (const one of values) {
      if (operator === 'present') return 'yes'
      // A list or an object is nothing that a text could equal.
      if (typeof one === 'object' && one !== null) continue
      if ((String(one) === value) === (operator === '=')) return 'yes'
    }
    return 'no'
  }
  switch (path.root) {
    case 'header': {
      const values = payload.headers.filter(([name]) => name === path.name)
      return some(values.flatMap(([, bytes]) => readUtf8(bytes) ?? []))
    }
    case 'key':
      return some([readUtf8(payload.key) ?? []].flat())
    case 'data':
    case 'args': {
      if (payload.tooLarge) return 'too-large'
      const text = path.root === 'args' ? payload.argsJson : (readUtf8(payload.value) ?? null)
      const data = text === null ? undefined : readJsonText(text)
      return data === undefined ? 'not-json' : some(valuesAt(data, path.steps))
    }
  }
}
