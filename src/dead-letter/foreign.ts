import type { ErrorDescription } from '../errors/describe.ts'
import type { LogRecord } from '../log/port.ts'
import { CONNECT, ForeignHeaders, KARAFKA, SPRING } from './foreign-headers.ts'
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

const NAME_LIMIT = 249
const CLASS_LIMIT = 200
const MESSAGE_LIMIT = 4_000
const STACK_LIMIT = 8_000
const CAUSES = 5
/** The last that a date may be, and be a text that Postgres reads: the end of the year 9999. */
const LAST_MS = 253_402_300_799_999
/** Whose work it was in Connect: turning bytes into data, changing data, handing them over. */
const CONNECT_STAGES: Readonly<Record<string, DeadLetterStage>> = {
  KEY_CONVERTER: 'decode',
  VALUE_CONVERTER: 'decode',
  HEADER_CONVERTER: 'decode',
  TRANSFORMATION: 'prepare',
}

/**
 * Reads what Spring Kafka (`kafka_dlt-…`), Kafka Connect (`__connect.errors.…`) or Karafka (`source_…`) wrote when it set the
 * record aside. Never throws: what is missing or broken is left out, and the record itself is not touched.
 */
export function readForeignDeadLetter(record: LogRecord): ForeignDeadLetter {
  const headers = new ForeignHeaders(record.headers)
  // It may have been set aside by one program, replayed, and then by another: who spoke last is believed.
  const spring = headers.lastOf(SPRING)
  const connect = headers.lastOf(CONNECT)
  const karafka = headers.lastOf(KARAFKA)
  const last = Math.max(spring, connect, karafka)
  if (last >= 0 && last === spring) return ofSpring(headers)
  if (last >= 0 && last === connect) return ofConnect(headers)
  if (last >= 0) return ofKarafka(headers)
  return {
    stage: 'apply',
    origin: null,
    timestamp: null,
    error: {
      class: 'ForeignDeadLetter',
      message: 'another program set it aside, and left no word of why',
    },
    attempts: 1,
  }
}

function ofSpring(headers: ForeignHeaders): ForeignDeadLetter {
  const ms = headers.long(SPRING.timestamp)
  const cause = headers.text(SPRING.cause, CLASS_LIMIT)
  return {
    stage: 'apply',
    origin: originOf(headers, SPRING),
    timestamp: ms === undefined || ms > BigInt(LAST_MS) ? null : new Date(Number(ms)),
    error: javaError(headers, SPRING, cause),
    attempts: attemptsOf(headers.lastInt(SPRING.attempts) ?? headers.lastInt(SPRING.retryAttempts)),
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

function ofKarafka(headers: ForeignHeaders): ForeignDeadLetter {
  const group = headers.text(KARAFKA.group, NAME_LIMIT)
  return {
    stage: 'apply',
    origin: originOf(headers, KARAFKA),
    timestamp: null,
    error: {
      class: 'KarafkaDeadLetter',
      message: `${group === undefined ? 'Karafka' : `Karafka's group '${group}'`} set it aside; Karafka keeps no error`,
      // The group says who failed; its quoted name would be no part of the cause.
      fingerprint: `karafka ${group ?? ''}`.trim(),
    },
    attempts: attemptsOf(headers.lastInt(KARAFKA.attempts)),
  }
}

function originOf(
  headers: ForeignHeaders,
  names: { readonly topic: string; readonly partition: string; readonly offset: string },
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
  names: { readonly class: string; readonly message: string; readonly stack: string },
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
