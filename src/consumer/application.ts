import { parseDuration, type Duration } from '../core/duration.ts'
import { Problems, isWhole } from '../errors/config.ts'
import type { Definition, EventOf } from '../events/definition.ts'
import type { ReceivedEvent } from '../events/received-event.ts'
import {
  deadLetterTopicsOf,
  type DeadLetterTopic,
  type DeadLetterTopics,
} from './dead-letter-topics.ts'
import type { HandlerDefinition } from './handler.ts'

/** Where an application that has never read a partition begins. Partitions added to a topic later begin at their start. */
export type StartPosition =
  | 'beginning'
  | 'end'
  /** The first record whose timestamp is not before this. */
  | { readonly time: Date }
  /** This offset, in every partition. */
  | { readonly offset: bigint }

/** Back-pressure by the application's own backlog: the jobs its handlers made that are not finished. */
export interface BacklogLimit {
  /** At this many, reading waits. Default 10,000. Bounds 1 … 100,000,000. */
  readonly pauseAt?: number
  /** At or below this many, reading goes on. Default half of `pauseAt`. Bounds 0 … `pauseAt`. */
  readonly resumeAt?: number
}

/**
 * The flood brake: when most records of a partition fail alike over several keys, that is a bad deploy or an outage and no
 * poison. The partition is stopped before the first dead letter of the batch, the records stay in the log, and somebody
 * decides: `millrace consumers resume`. One key whose records all fail is poison; a share below the limit becomes dead
 * letters. Records that nobody handles do not count.
 */
export interface FloodBrake {
  /** Stops when more than this share of a batch fails alike, or of the last `windowRecords`. Default 0.5. Bounds 0 … below 1. */
  readonly share?: number
  /** And when at least so many records do. Default 20. Bounds 1 … 100,000, and at most a batch or `windowRecords`. */
  readonly atLeast?: number
  /** And when they are of at least so many keys; a record without a key is one of its own. Default 2. Bounds 1 … 100,000. */
  readonly minKeys?: number
  /**
   * How many of a partition's last records are looked at beside the batch, where batches are small. A new owner of the
   * partition begins to count anew. Default 100. Bounds 0 (the batch alone) … 100,000.
   */
  readonly windowRecords?: number
}

/** Options of an application. */
export interface ApplicationOptions {
  /** Default `'beginning'`. */
  readonly start?: StartPosition
  /**
   * Most records of a batch. Default 500. Bounds 1 … 10,000. Where handlers are slow a batch has fewer: as many as they are
   * through with in a quarter of a second, or in twenty times as long as a commit takes.
   */
  readonly batchRecords?: number
  /** About how many bytes of keys and values a batch has at most. Default 4 MiB. Bounds 1 KiB … 256 MiB. */
  readonly batchBytes?: number
  /** How many keys of a partition `prepare` works on at once. Default 16. Bounds 1 … 1,000. */
  readonly prepareConcurrency?: number
  /** Longest time for one call of `prepare`, in milliseconds. Default 10,000. Bounds 1 … 3,600,000. */
  readonly prepareTimeoutMs?: number
  /** Longest time for the transaction of a batch, in milliseconds; at most half of the take-over time. Default 5,000. Bounds 100 … 60,000. */
  readonly transactionTimeoutMs?: number
  /** How often a record is tried for a handler before it becomes a dead letter. Default 5. Bounds 1 … 1,000. A database that is down does not count. */
  readonly maxAttempts?: number
  readonly backlog?: BacklogLimit
  /** When failures stop a partition instead of becoming dead letters. `false`: never. Default: see {@link FloodBrake}. */
  readonly floodBrake?: FloodBrake | false
  /** Largest value that is decoded, in bytes; larger ones become dead letters. Default 1,048,576. */
  readonly maxValueBytes?: number
  /** Deepest nesting that is decoded. Default 128. */
  readonly maxDepth?: number
  /**
   * Topics into which other programs set records aside: Spring Kafka, Kafka Connect, Karafka, or one whose headers you name:
   * `{ 'orders.failed': { headers: { message: 'x-why' } } }`. Each of their records becomes a dead letter of this application,
   * with origin, error and attempts as its headers say, to be looked at here; nothing of the record is lost where they say
   * nothing. They are read from `start` on and never made. Default none.
   */
  readonly deadLetterTopics?: readonly string[] | Readonly<Record<string, DeadLetterTopic>>
  /**
   * Whether dead letters are also copied to the topic `<name>.dead`, for other tools: the bytes of the record, with headers as
   * Spring Kafka and Karafka name them. From now on; the rows stay what counts. At least once, after the fact: a log that
   * does not take them keeps nothing from going on, and a topic that is missing is made as soon as the log allows it. While
   * a deploy replaces processes, those that say `true` win within a second over those that do not; it ends with the first
   * start of one that says `false` after the last that said `true`. Default `false`.
   */
  readonly exportDeadLetters?: boolean
}

/** The options with their defaults filled in. */
export interface ResolvedApplicationOptions {
  readonly start: StartPosition
  readonly batchRecords: number
  readonly batchBytes: number
  readonly prepareConcurrency: number
  readonly prepareTimeoutMs: number
  readonly transactionTimeoutMs: number
  readonly maxAttempts: number
  readonly backlog: { readonly pauseAt: number; readonly resumeAt: number }
  readonly floodBrake: Required<FloodBrake> | false
  readonly maxValueBytes: number | undefined
  readonly maxDepth: number | undefined
  readonly deadLetterTopics: DeadLetterTopics
  readonly exportDeadLetters: boolean
}

/** One handler of an application. */
export interface Registration {
  readonly definition: Definition
  readonly handler: HandlerDefinition<never>
  readonly name: string
  readonly filter: ((event: ReceivedEvent<string, unknown>) => boolean) | undefined
  /** See {@link OnOptions.once}, in milliseconds. */
  readonly onceMs: number | undefined
}

/** Options of {@link Application.on}. */
export interface OnOptions<E> {
  /**
   * Tells the handlers of one event apart in dead letters, counts and jobs, so it must stay the same over deploys.
   * Default: the job's kind for `toJob`, else the event's type.
   */
  readonly name?: string
  /** Records for which it returns false are counted as filtered, under the reason `filter`. Pure and quick. Default: all pass. */
  readonly filter?: (event: E) => boolean
  /**
   * For events that their producer may append more than once: how long the handler remembers events it has had, by source
   * and id: `'7d'`. Within that time it handles an event once; another record of the same event, whatever its partition, is
   * counted as filtered, under the reason `duplicate`. So it is too when the first became a dead letter: that one is to be
   * replayed. The same record again, after a seek, is no duplicate, nor is a dead letter that is replayed; a replay of past
   * records handles each event once for itself. What nobody could read, or `filter` or `prepare` skipped, is not remembered.
   *
   * It costs two statements per batch, and a row of `millrace.seen_event` for every event until the time is over. Not for
   * records whose id is made of their place: tombstones, and foreign definitions without `id`. Default: every record is
   * handled, whatever its event. Bounds 1 second … 365 days.
   */
  readonly once?: Duration
}

/** Bounds of {@link OnOptions.once}, in milliseconds. */
const ONCE = { min: 1_000, max: 365 * 86_400_000 } as const

/** An independent reader of topics with its own positions. A plain value: nothing runs before `start`. */
export interface Application {
  readonly name: string
  readonly options: ResolvedApplicationOptions
  readonly registrations: readonly Registration[]
  /** The topics it reads, without doubles. */
  readonly topics: readonly string[]
  /**
   * A copy of this application that also handles `definition`. An event may have several handlers; each gets every
   * record once.
   * @throws E_CONFIG_INVALID when the event already has a handler of that name, or an option is wrong.
   */
  on<D extends Definition>(
    definition: D,
    handler: HandlerDefinition<EventOf<D>>,
    options?: OnOptions<EventOf<D>>,
  ): Application
}

/**
 * Defines an application. Its name is its identity: positions, jobs and dead letters are kept under it.
 * @throws E_CONFIG_INVALID naming all wrong options.
 */
export function application(name: string, options: ApplicationOptions = {}): Application {
  return build(name, resolve(name, options), [])
}

function build(
  name: string,
  options: ResolvedApplicationOptions,
  registrations: readonly Registration[],
): Application {
  return Object.freeze({
    name,
    options,
    registrations,
    topics: [
      ...new Set([
        ...registrations.map(({ definition }) => definition.topic),
        ...options.deadLetterTopics.keys(),
      ]),
    ],
    on<D extends Definition>(
      definition: D,
      handler: HandlerDefinition<EventOf<D>>,
      { name: given, filter, once }: OnOptions<EventOf<D>> = {},
    ): Application {
      const handlerName = given ?? handler.defaultName ?? definition.type
      const problems = new Problems(`application '${name}'`)
      problems.expect(
        /^[^\s*]{1,200}$/.test(handlerName),
        'name',
        'up to 200 characters without spaces or *',
        handlerName,
      )
      const taken = registrations.some(
        (r) =>
          r.name === handlerName &&
          r.definition.type === definition.type &&
          r.definition.topic === definition.topic,
      )
      problems.expect(
        !taken,
        'name',
        `a name that no other handler of ${definition.type} has; pass { name } to tell them apart`,
        handlerName,
      )
      problems.expect(
        !options.deadLetterTopics.has(definition.topic),
        'definition',
        'one of a topic that is not among deadLetterTopics',
        definition.topic,
      )
      const onceMs = once === undefined ? undefined : checkOnce(problems, definition, once)
      problems.throwIfAny()
      return build(name, options, [
        ...registrations,
        {
          definition,
          handler,
          name: handlerName,
          filter: filter as Registration['filter'],
          onceMs,
        },
      ])
    },
  })
}

/** `once` in milliseconds. */
function checkOnce(problems: Problems, definition: Definition, once: Duration): number | undefined {
  const ms = parseDuration(once)
  problems.expect(
    ms !== undefined && ms >= ONCE.min && ms <= ONCE.max,
    'once',
    `a time from 1 second to 365 days, as '7d' or in milliseconds`,
    once,
  )
  const { kind, type } = definition
  problems.expect(
    kind === 'event' || (kind === 'foreign' && definition.id !== undefined),
    'once',
    kind === 'foreign'
      ? `a definition of ${type} with { id }: without it every record has an id of its own, made of its place`
      : `no such option for ${type}: tombstones have no id of their own, only one made of their place`,
    once,
  )
  return ms
}

const FLOOD_BRAKE: Required<FloodBrake> = {
  share: 0.5,
  atLeast: 20,
  minKeys: 2,
  windowRecords: 100,
}

function resolve(name: string, o: ApplicationOptions): ResolvedApplicationOptions {
  const problems = new Problems(`application '${name}'`)
  const pauseAt = o.backlog?.pauseAt ?? 10_000
  const resolved: ResolvedApplicationOptions = {
    start: o.start ?? 'beginning',
    batchRecords: o.batchRecords ?? 500,
    batchBytes: o.batchBytes ?? 4 * 1024 * 1024,
    prepareConcurrency: o.prepareConcurrency ?? 16,
    prepareTimeoutMs: o.prepareTimeoutMs ?? 10_000,
    transactionTimeoutMs: o.transactionTimeoutMs ?? 5_000,
    maxAttempts: o.maxAttempts ?? 5,
    backlog: { pauseAt, resumeAt: o.backlog?.resumeAt ?? Math.floor(pauseAt / 2) },
    floodBrake: o.floodBrake === false ? false : { ...FLOOD_BRAKE, ...o.floodBrake },
    maxValueBytes: o.maxValueBytes,
    maxDepth: o.maxDepth,
    deadLetterTopics: deadLetterTopicsOf(problems, o.deadLetterTopics),
    exportDeadLetters: o.exportDeadLetters ?? false,
  }
  const whole = (option: keyof ApplicationOptions, min: number, max: number): void => {
    const value = (resolved as unknown as Record<string, unknown>)[option]
    problems.expect(isWhole(value, min, max), option, `a whole number from ${min} to ${max}`, value)
  }
  problems.expect(
    /^[a-zA-Z0-9._-]{1,100}$/.test(name),
    'name',
    'letters, digits, dots, dashes and underscores, at most 100',
    name,
  )
  whole('batchRecords', 1, 10_000)
  whole('batchBytes', 1_024, 268_435_456)
  whole('prepareConcurrency', 1, 1_000)
  whole('prepareTimeoutMs', 1, 3_600_000)
  whole('transactionTimeoutMs', 100, 60_000)
  whole('maxAttempts', 1, 1_000)
  problems.expect(
    isWhole(pauseAt, 1, 100_000_000),
    'backlog.pauseAt',
    'a whole number from 1 to 100000000',
    pauseAt,
  )
  problems.expect(
    isWhole(resolved.backlog.resumeAt, 0, pauseAt),
    'backlog.resumeAt',
    'a whole number from 0 to backlog.pauseAt',
    resolved.backlog.resumeAt,
  )
  checkFloodBrake(problems, o.floodBrake, resolved)
  problems.expect(
    typeof resolved.exportDeadLetters === 'boolean',
    'exportDeadLetters',
    'true or false',
    o.exportDeadLetters,
  )
  problems.expect(
    isStart(resolved.start),
    'start',
    `'beginning', 'end', { time } or { offset }`,
    o.start,
  )
  problems.throwIfAny()
  return resolved
}

function checkFloodBrake(
  problems: Problems,
  given: unknown,
  { floodBrake, batchRecords }: ResolvedApplicationOptions,
): void {
  if (floodBrake === false) return
  problems.expect(
    given === undefined || (typeof given === 'object' && given !== null),
    'floodBrake',
    '{ share, atLeast, minKeys, windowRecords }, or false',
    given,
  )
  const { share, atLeast, windowRecords } = floodBrake
  problems.expect(
    typeof share === 'number' && share >= 0 && share < 1,
    'floodBrake.share',
    'a number from 0 to below 1',
    share,
  )
  const least = { atLeast: 1, minKeys: 1, windowRecords: 0 }
  for (const [option, min] of Object.entries(least)) {
    const value = floodBrake[option as keyof typeof least]
    const expected = `a whole number from ${min} to 100000`
    problems.expect(isWhole(value, min, 100_000), `floodBrake.${option}`, expected, value)
  }
  const most = Math.max(batchRecords, windowRecords)
  problems.expect(
    // What is no number has been said already.
    !(atLeast > most),
    'floodBrake.atLeast',
    `at most the larger of batchRecords and floodBrake.windowRecords, ${most}: more are never looked at`,
    atLeast,
  )
}

function isStart(start: unknown): boolean {
  if (start === 'beginning' || start === 'end') return true
  if (typeof start !== 'object' || start === null) return false
  const { time, offset } = start as { time?: unknown; offset?: unknown }
  return (
    (time instanceof Date && !Number.isNaN(time.getTime())) ||
    (typeof offset === 'bigint' && offset >= 0n)
  )
}
