import type { StandardSchemaV1 } from '@standard-schema/spec'
import { Problems } from '../errors/config.ts'
import { expectFunction, expectName, expectSchema, expectTopic } from './names.ts'
import type { PlacedRecord } from './raw-record.ts'

/** Options of {@link foreign}. All functions are pure: the same record always gives the same. */
export interface ForeignOptions<Type extends string, Schema extends StandardSchemaV1, Data> {
  /** Shape of the parsed JSON, any Standard Schema. */
  readonly schema: Schema
  /** Type of the event that handlers see. Default `FOREIGN:<topic>`. */
  readonly type?: Type
  /** Source of the event that handlers see. Default: the topic. */
  readonly source?: string
  /** The key in whose order the event is handled. Default: the record's own key. */
  readonly key?: (data: StandardSchemaV1.InferOutput<Schema>, record: PlacedRecord) => string | null
  /** What handlers get as `data`. Default: what the schema gives. Not validated again. */
  readonly map?: (data: StandardSchemaV1.InferOutput<Schema>, record: PlacedRecord) => Data
  /**
   * The event's id; the same fact must always have the same. Default: a UUID made of topic id, partition and offset, so
   * one per record.
   */
  readonly id?: (data: StandardSchemaV1.InferOutput<Schema>, record: PlacedRecord) => string
  /** When it happened. Default: the record's timestamp. */
  readonly time?: (data: StandardSchemaV1.InferOutput<Schema>, record: PlacedRecord) => Date
}

/** How the records of a topic that somebody else writes are read as events. */
export interface ForeignDefinition<Type extends string = string, Data = unknown> {
  readonly kind: 'foreign'
  readonly type: Type
  readonly source: string
  readonly topic: string
  readonly schema: StandardSchemaV1
  /** Absent: the record's own key. */
  key?(data: unknown, record: PlacedRecord): string | null
  /** Absent: the data is what the schema gives. */
  map?(data: unknown, record: PlacedRecord): Data
  /** Absent: an id made of the record's place. */
  id?(data: unknown, record: PlacedRecord): string
  /** Absent: the record's timestamp. */
  time?(data: unknown, record: PlacedRecord): Date
  /** Only for inference: what handlers get. Never there. */
  readonly data?: Data
}

/**
 * Defines how plain JSON that others write (no `ce_type` header) is read as an event.
 *
 * ```ts
 * export const film = foreign('distributor-films', { schema: filmSchema, key: (data) => data.Title })
 * ```
 * @throws E_CONFIG_INVALID naming everything that is wrong.
 */
export function foreign<
  const Topic extends string,
  Schema extends StandardSchemaV1,
  const Type extends string = `FOREIGN:${Topic}`,
  Data = StandardSchemaV1.InferOutput<Schema>,
>(topic: Topic, options: ForeignOptions<Type, Schema, Data>): ForeignDefinition<Type, Data> {
  const { schema, type = `FOREIGN:${topic}` as Type, source = topic, key, map, id, time } = options
  const problems = new Problems(`foreign topic '${topic}'`)
  expectTopic(problems, topic)
  expectSchema(problems, schema)
  expectName(problems, 'type', type)
  expectName(problems, 'source', source)
  for (const [option, action] of Object.entries({ key, map, id, time })) {
    expectFunction(problems, option, action)
  }
  problems.throwIfAny()
  return Object.freeze({
    kind: 'foreign' as const,
    type,
    source,
    topic,
    schema,
    ...(key === undefined ? {} : { key }),
    ...(map === undefined ? {} : { map }),
    ...(id === undefined ? {} : { id }),
    ...(time === undefined ? {} : { time }),
  })
}
