import { Problems } from '../errors/config.ts'
import { expectTopic } from './names.ts'

/** Asks for the tombstones of a topic: records without a value, which say that their key is gone. */
export interface TombstoneDefinition<Type extends string = string> {
  readonly kind: 'tombstone'
  readonly type: Type
  readonly topic: string
}

/**
 * Defines the event that a tombstone of `topic` is. Its data is `null`, its key says what is gone, and its type is
 * `TOMBSTONE:<topic>`. Where no handler asks for them, tombstones are filtered.
 * @throws E_CONFIG_INVALID when `topic` cannot name a topic.
 */
export function tombstone<const Topic extends string>(
  topic: Topic,
): TombstoneDefinition<`TOMBSTONE:${Topic}`> {
  const problems = new Problems(`tombstones of '${topic}'`)
  expectTopic(problems, topic)
  problems.throwIfAny()
  return Object.freeze({
    kind: 'tombstone' as const,
    type: `TOMBSTONE:${topic}` as const,
    topic,
  })
}
