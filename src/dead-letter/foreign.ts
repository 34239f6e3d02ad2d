import type { ErrorDescription } from '../errors/describe.ts'
import type { LogRecord } from '../log/port.ts'
import {
  CONNECT,
  ForeignHeaders,
  KARAFKA,
  KARAFKA_BEFORE_2_5,
  SPRING,
  SPRING_ATTEMPTS,
  SPRING_CLOUD,
  SPRING_RETRY,
  type DeadLetterHeaders,
} from './foreign-headers.ts'
import type { DeadLetterStage } from './stage.ts'

/** What the headers of a record say that another program has set aside. */
export interface ForeignDeadLetter {
  readonly stage: DeadLetterStage
  /** Where the record failed; null: they do not say, or not so that it could be read. */
  readonly origin: {
    readonly topic: string
    readonly partition: number
    readonly offset: bigint
  } | null
  /** When the record was made, if they say so. */
  readonly timestamp: Date | null
  readonly error: ErrorDescription
  readonly attempts: number
}

type SpringNames = DeadLetterHeaders & {
  readonly keyClass?: string
  readonly keyMessage?: string
  readonly keyStack?: string
}

const NAME_LIMIT = 249
const CLASS_LIMIT = 200
const MESSAGE_LIMIT = 4_000
const STACK_LIMIT = 8_000
const CAUSES = 5
/** Whose work it was in Connect: turning bytes into data, changing data, handing them over. */
const CONNECT_STAGES: Readonly<Record<string, DeadLetterStage>> = {
  KEY_CONVERTER: 'decode',
  VALUE_CONVERTER: 'decode',
  HEADER_CONVERTER: 'decode',
  TRANSFORMATION: 'prepare',
}

type Read = (headers: ForeignHeaders) => ForeignDeadLetter

/** Who writes which headers, and how they are read. */
const PROGRAMS: readonly (readonly [names: object, read: Read])[] = [
  ...[SPRING, SPRING_RETRY, SPRING_CLOUD].map(
    (names) => [names, (headers: ForeignHeaders) => ofSpring(headers, names)] as const,
  ),
  [CONNECT, ofConnect],
  ...[KARAFKA, KARAFKA_BEFORE_2_5].map(
    (names) => [names, (headers: ForeignHeaders) => ofKarafka(headers, names)] as const,
  ),
]

/**
 * Reads what Spring (`kafka_dlt-…`, `kafka_original-…`, `x-original-…`), Kafka Connect (`__connect.errors.…`) or Karafka
 * (`source_…`, `original_…`) wrote when it set the record aside, or another program under its `own` names. Never throws: what
 * is missing or broken is left out, and the record itself is not touched.
 */
export function readForeignDeadLetter(
  record: LogRecord,
  own: DeadLetterHeaders = {},
): ForeignDeadLetter {
  const headers = new ForeignHeaders(record.headers, own)
  let last = headers.lastOf(own)
  let read: Read | undefined = last < 0 ? undefined : () => ofOwn(headers, own)
  // It may have been set aside by one program, replayed, and then by another: who spoke last is believed.
  for (const [names, readIt] of PROGRAMS) {
    const place = headers.lastOf(names)
    if (place > last) [last, read] = [place, readIt]
  }
  return (
    read?.(headers) ?? {
      stage: 'apply',
      origin: null,
      timestamp: null,
      error: {
        class: 'ForeignDeadLetter',
        message: 'another program set it aside, and left no word of why',
      },
      attempts: 1,
    }
  )
}

function ofOwn(headers: ForeignHeaders, own: DeadLetterHeaders): ForeignDeadLetter {
  return {
    stage: 'apply',
    origin: originOf(headers, own),
    timestamp: headers.time(own.timestamp) ?? null,
    error: javaError(headers, own, headers.text(own.cause, CLASS_LIMIT)),
    attempts: attemptsOf(headers.lastInt(own.attempts)),
  }
}

function ofSpring(headers: ForeignHeaders, names: SpringNames): ForeignDeadLetter {
  // What could not be read was the key, when only it is told of.
  const told =
    headers.text(names.class, CLASS_LIMIT) === undefined &&
    headers.text(names.keyClass, CLASS_LIMIT) !== undefined
      ? { class: names.keyClass, message: names.keyMessage, stack: names.keyStack }
      : names
  const { delivery, retryTopic } = SPRING_ATTEMPTS
  return {
    stage: 'apply',
    origin: originOf(headers, names),
    timestamp: headers.time(names.timestamp) ?? null,
    error: javaError(headers, told, headers.text(names.cause, CLASS_LIMIT)),
    attempts: attemptsOf(headers.lastInt(delivery) ?? headers.lastInt(retryTopic)),
  }
}

function ofConnect(headers: ForeignHeaders): ForeignDeadLetter {
  return {
    stage: CONNECT_STAGES[headers.text(CONNECT.stage, NAME_LIMIT) ?? ''] ?? 'apply',
    origin: originOf(headers, CONNECT),
    timestamp: null,
    error: javaError(headers, CONNECT, undefined),
    attempts: 1,
  }
}

function ofKarafka(
  headers: ForeignHeaders,
  names: typeof KARAFKA | typeof KARAFKA_BEFORE_2_5,
): ForeignDeadLetter {
  const group = headers.text(names.group, NAME_LIMIT)
  const traceId = headers.text(names.traceId, NAME_LIMIT)
  const who = group === undefined ? 'Karafka' : `Karafka's group '${group}'`
  const where = traceId === undefined ? '' : `, its Web UI has it under trace id ${traceId}`
  return {
    stage: 'apply',
    origin: originOf(headers, names),
    timestamp: null,
    error: {
      class: 'KarafkaDeadLetter',
      message: `${who} set it aside; Karafka keeps no error${where}`,
      // The group says who failed; its quoted name would be no part of the cause.
      fingerprint: `karafka ${group ?? ''}`.trim(),
    },
    attempts: attemptsOf(headers.lastInt(names.attempts)),
  }
}

function originOf(
  headers: ForeignHeaders,
  names: Pick<DeadLetterHeaders, 'topic' | 'partition' | 'offset'>,
): ForeignDeadLetter['origin'] {
  const topic = headers.firstText(names.topic, NAME_LIMIT)
  const partition = headers.int(names.partition)
  const offset = headers.long(names.offset)
  if (topic === undefined || partition === undefined || offset === undefined) return null
  return { topic, partition, offset }
}

function attemptsOf(attempts: number | undefined): number {
  return Math.max(1, attempts ?? 1)
}

/** A Java exception, with what its stack says of its causes. */
function javaError(
  headers: ForeignHeaders,
  names: { readonly [field in 'class' | 'message' | 'stack']?: string | undefined },
  cause: string | undefined,
): ErrorDescription {
  const stack = headers.text(names.stack, STACK_LIMIT)
  const causes = [...(stack ?? '').matchAll(/^Caused by: ([\w.$]{1,200})(?:: (.{0,4000}))?$/gm)]
    .slice(0, CAUSES)
    .map(([, name, message]) => ({ class: name as string, message: message ?? '' }))
  if (causes.length === 0 && cause !== undefined) causes.push({ class: cause, message: '' })
  return {
    class: headers.text(names.class, CLASS_LIMIT) ?? 'ForeignDeadLetter',
    message: headers.text(names.message, MESSAGE_LIMIT) ?? '',
    ...(stack === undefined ? {} : { stack }),
    ...(causes.length === 0 ? {} : { causes }),
  }
}
