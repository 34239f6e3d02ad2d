import type { Problems } from '../errors/config.ts'

const TOPIC = /^[a-zA-Z0-9._-]{1,249}$/
/** Neither spaces nor control or format characters: names are written into logs, headers and command lines. */
const NAME = /^[^\s\p{C}]{1,200}$/u

/** Whether `text` may name a topic: Kafka's rule. */
export function isTopicName(text: unknown): text is string {
  return typeof text === 'string' && TOPIC.test(text) && text !== '.' && text !== '..'
}

/** Notes a problem unless `topic` may name a topic. */
export function expectTopic(problems: Problems, topic: unknown): void {
  problems.expect(
    isTopicName(topic),
    'topic',
    '1 to 249 letters, digits, dots, underscores or hyphens',
    topic,
  )
}

/** Notes a problem unless `name` may name a type or a source. */
export function expectName(problems: Problems, option: string, name: unknown): void {
  problems.expect(
    typeof name === 'string' && NAME.test(name),
    option,
    '1 to 200 characters without spaces and control characters',
    name,
  )
}

/** Notes a problem unless `schema` is a Standard Schema. */
export function expectSchema(problems: Problems, schema: unknown): void {
  const standard =
    (typeof schema === 'object' && schema !== null) || typeof schema === 'function'
      ? (schema as { '~standard'?: { version?: unknown; validate?: unknown } })['~standard']
      : undefined
  problems.expect(
    standard?.version === 1 && typeof standard.validate === 'function',
    'schema',
    'a Standard Schema (zod, valibot, arktype, …)',
    schema === undefined ? undefined : typeof schema,
  )
}

/** Notes a problem unless `action` is absent or a function. */
export function expectFunction(problems: Problems, option: string, action: unknown): void {
  problems.expect(
    action === undefined || typeof action === 'function',
    option,
    'a function',
    action,
  )
}
