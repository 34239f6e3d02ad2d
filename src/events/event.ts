import type { StandardSchemaV1 } from '@standard-schema/spec'
import { isWhole, Problems } from '../errors/config.ts'
import { expectFunction, expectName, expectSchema, expectTopic } from './names.ts'

/** Turns data of one version into data of the next. Pure: no I/O, no clock, no chance. */
export type Upcaster = (data: unknown) => unknown

/** Options of {@link event}. */
export interface EventOptions<Schema extends StandardSchemaV1> {
  /** Who publishes it: the service that owns the fact. 1 to 200 characters without spaces. */
  readonly source: string
  /** Topic it is published to and read from. */
  readonly topic: string
  /**
   * Shape of the data, any Standard Schema. Its input is the wire form, which is JSON and nothing else: a schema that
   * wants a `Date` or a `bigint` there refuses everything. Its output is what handlers get. Pure, like all of a
   * definition; one that validates asynchronously is waited for.
   */
  readonly schema: Schema
  /**
   * The record's key: events of one key keep their order. Default: no key, no order. Must not return an empty string by
   * accident: that is a key like any other.
   */
  readonly key?: (data: StandardSchemaV1.InferInput<Schema>) => string | null
  /**
   * Version of the data as the schema describes it. A whole number from 1. Default 1. Who reads a new one is deployed before
   * who publishes it: to a process that only knows an older one, its records are E_EVENT_VERSION.
   */
  readonly version?: number
  /**
   * How older data is brought to this version, before it is validated: `{ 1: v1 => v2, 2: v2 => v3 }`. Without a hole from
   * the oldest version that can still be read up to `version` − 1. Default: only `version` itself can be read.
   */
  readonly upcasters?: Readonly<Record<number, Upcaster>>
}

/** A type of event: what it is called, where it lives, what it looks like. A plain value that can be imported anywhere. */
export interface EventDefinition<Type extends string = string, Input = unknown, Output = unknown> {
  readonly kind: 'event'
  readonly type: Type
  readonly source: string
  readonly topic: string
  readonly schema: StandardSchemaV1<unknown, Output>
  readonly version: number
  /** The oldest version that can be read. */
  readonly oldestVersion: number
  readonly upcasters: Readonly<Record<number, Upcaster>>
  /** The key of an event with this data. */
  key(data: Input): string | null
}

/**
 * Defines an event that millrace publishes and reads, as CloudEvents 1.0 in Kafka's binary mode.
 *
 * ```ts
 * export const itemSold = event('ITEM_SOLD', {
 *   source: 'ORDER_SERVICE',
 *   topic: 'orders',
 *   schema: z.object({ orderId: z.string(), priceCents: z.int() }),
 *   key: (data) => data.orderId,
 * })
 * ```
 * @throws E_CONFIG_INVALID naming everything that is wrong.
 */
export function event<const Type extends string, Schema extends StandardSchemaV1>(
  type: Type,
  options: EventOptions<Schema>,
): EventDefinition<
  Type,
  StandardSchemaV1.InferInput<Schema>,
  StandardSchemaV1.InferOutput<Schema>
> {
  const { source, topic, schema, key, version = 1, upcasters = {} } = options
  const problems = new Problems(`event '${type}'`)
  expectName(problems, 'type', type)
  expectName(problems, 'source', source)
  expectTopic(problems, topic)
  expectSchema(problems, schema)
  expectFunction(problems, 'key', key)
  problems.expect(isWhole(version, 1), 'version', 'a whole number from 1', version)
  const oldestVersion = expectUpcasters(problems, upcasters, version)
  problems.throwIfAny()
  return Object.freeze({
    kind: 'event' as const,
    type,
    source,
    topic,
    schema,
    version,
    oldestVersion,
    upcasters: Object.freeze({ ...upcasters }),
    key: key ?? (() => null),
  })
}

/** Checks that the upcasters lead from some version to `version` without a hole, and gives the version they begin at. */
function expectUpcasters(
  problems: Problems,
  upcasters: Readonly<Record<number, Upcaster>>,
  version: number,
): number {
  if (!isWhole(version, 1)) return 1
  let oldest = version
  for (const [name, upcaster] of Object.entries(upcasters)) {
    const from = Number(name)
    problems.expect(
      isWhole(from, 1, version - 1) && String(from) === name,
      'upcasters',
      version === 1
        ? 'none, because version is 1'
        : `version numbers from 1 to ${version - 1} as names`,
      name,
    )
    problems.expect(typeof upcaster === 'function', `upcasters.${name}`, 'a function', upcaster)
    if (isWhole(from, 1, version - 1)) oldest = Math.min(oldest, from)
  }
  for (let from = oldest; from < version; from += 1) {
    problems.expect(
      upcasters[from] !== undefined,
      `upcasters.${from}`,
      `a function from version ${from} to ${from + 1}, because there is one from version ${oldest}`,
      undefined,
    )
  }
  return oldest
}
