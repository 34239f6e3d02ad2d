import type { DeadLetterHeaders } from '../dead-letter/foreign-headers.ts'
import type { Problems } from '../errors/config.ts'
import { isTopicName } from '../events/names.ts'

/** A topic into which another program sets records aside. */
export interface DeadLetterTopic {
  /**
   * The names of its headers, when the program is none of those that are known. A record that has none of them is read as if
   * they were not given; one that has them and those of another program is told by whichever stands last. Default none.
   */
  readonly headers?: DeadLetterHeaders
}

/** The topics by name. */
export type DeadLetterTopics = ReadonlyMap<string, DeadLetterTopic>

const ORIGIN = ['topic', 'partition', 'offset'] as const
const FIELDS: readonly string[] = [
  ...ORIGIN,
  'timestamp',
  'attempts',
  'class',
  'cause',
  'message',
  'stack',
] satisfies (keyof DeadLetterHeaders)[]

/** The topics of the option `deadLetterTopics`, however they are given; everything that is wrong is noted. */
export function deadLetterTopicsOf(problems: Problems, given: unknown): DeadLetterTopics {
  const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null
  const topics: readonly (readonly [string, unknown])[] = Array.isArray(given)
    ? given.map((name: string) => [name, {}])
    : isObject(given)
      ? Object.entries(given)
      : []
  problems.expect(
    (given === undefined || isObject(given)) && topics.every(([name]) => isTopicName(name)),
    'deadLetterTopics',
    'names of topics, or { <topic>: { headers } }',
    given,
  )
  for (const [name, topic] of topics) {
    const option = `deadLetterTopics['${name}']`
    problems.expect(isObject(topic), option, '{ headers }', topic)
    if (!isObject(topic)) continue
    for (const key of Object.keys(topic))
      problems.expect(
        key === 'headers',
        `${option}.${key}`,
        'no such option, only headers',
        (topic as Record<string, unknown>)[key],
      )
    checkHeaders(problems, `${option}.headers`, (topic as { headers?: unknown }).headers)
  }
  return new Map(topics as [string, DeadLetterTopic][])
}

function checkHeaders(problems: Problems, option: string, headers: unknown): void {
  if (headers === undefined) return
  const names =
    typeof headers === 'object' && headers !== null && !Array.isArray(headers)
      ? Object.entries(headers)
      : []
  problems.expect(
    names.length > 0,
    option,
    `{ <one of these>: <name of a header> }: ${FIELDS.join(', ')}`,
    headers,
  )
  for (const [field, name] of names) {
    const isKnown = FIELDS.includes(field)
    problems.expect(
      isKnown,
      `${option}.${field}`,
      `one of these instead: ${FIELDS.join(', ')}`,
      name,
    )
    if (isKnown)
      problems.expect(
        typeof name === 'string' && name !== '',
        `${option}.${field}`,
        'the name of a header',
        name,
      )
  }
  const given = ORIGIN.filter((field) => names.some(([one]) => one === field))
  problems.expect(
    given.length === 0 || given.length === ORIGIN.length,
    option,
    'all of topic, partition and offset, or none: only together they say where a record failed',
    given,
  )
}
