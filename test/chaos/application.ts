import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { toJob } from '../../src/bridge/to-job.ts'
import {
  application,
  type Application,
  type ApplicationOptions,
} from '../../src/consumer/application.ts'
import { skip } from '../../src/consumer/handler.ts'
import { permanent } from '../../src/errors/millrace-error.ts'
import type { EventOf } from '../../src/events/definition.ts'
import { event } from '../../src/events/event.ts'
import { job } from '../../src/jobs/job.ts'
import type { JobContext } from '../../src/jobs/context.ts'
import { appendEntry, type Disposition } from '../support/checker/history.ts'

/** What is to happen to a record, chosen by its producer. */
export type Behaviour =
  /** Both jobs are done, and the ledger is written. */
  | 'plain'
  /** No handler has anything to do. */
  | 'quiet'
  /** The ledger's handler fails for good; the jobs are done. */
  | 'apply-hopeless'
  /** The jobs fail once, then are done. */
  | 'job-flaky'
  /** The jobs fail for good. */
  | 'job-hopeless'
  /** One of the jobs ends its process, if that has a trap for it. */
  | 'job-killer'
  /** Of a type that nobody handles. */
  | 'unhandled'
  /** Not JSON. */
  | 'broken'
  /** JSON of the wrong shape. */
  | 'misshapen'
  /** More bytes than are decoded: the producer gives it its size. */
  | 'too-large'

export const APPLICATION = 'chaos'
export const CALL = 'chaos.call'
export const RECORD = 'chaos.record'
export const LEDGER = 'ledger'
export const QUEUE = 'chaos'

/** Waits after a failed attempt: short, and half of it is by chance, so the promise is half. */
const BACKOFF = { baseMs: 100, factor: 2, maxMs: 1_000, jitter: 0.5 } as const
/** The least that {@link BACKOFF} promises, by attempt. */
export const PROMISED_BACKOFF_MS: readonly number[] = [50, 100, 200, 400, 500]

const ALL_OF = (disposition: Disposition): Readonly<Record<string, Disposition>> => ({
  [CALL]: disposition,
  [RECORD]: disposition,
  [LEDGER]: disposition,
})

/** What must become of a record, by handler. */
export const DISPOSITIONS: Readonly<Record<Behaviour, Readonly<Record<string, Disposition>>>> = {
  plain: { ...ALL_OF('jobs'), [LEDGER]: 'done' },
  quiet: ALL_OF('filtered'),
  'apply-hopeless': { ...ALL_OF('jobs'), [LEDGER]: 'dead' },
  'job-flaky': { ...ALL_OF('jobs'), [LEDGER]: 'done' },
  'job-hopeless': { ...ALL_OF('jobs'), [LEDGER]: 'done' },
  'job-killer': { ...ALL_OF('jobs'), [LEDGER]: 'done' },
  unhandled: { '*': 'filtered' },
  broken: { '*': 'dead' },
  misshapen: { '*': 'dead' },
  'too-large': { '*': 'dead' },
}

const fact = z.object({
  n: z.int(),
  key: z.string(),
  behaviour: z.string(),
})
type Fact = z.infer<typeof fact>

/** The topic of the events, unless a run has one of its own. */
export const TOPIC = 'orders'

/** The fact as version 2 of the event has it. */
const fact2 = fact.extend({ desk: z.string() })

/** Which version of the event somebody knows, and publishes. */
export type EventVersion = 1 | 2

/**
 * The event that the application handles, and one of the same topic that nobody handles. What knows version 2 reads version 1
 * by an upcaster; the other way round nothing can be read.
 */
export function chaosEvents(topic: string, version: EventVersion = 1) {
  const common = { source: 'CHAOS', topic, schema: fact, key: ({ key }: Fact) => key }
  const noted = event('ORDER_NOTED', common)
  const placed = event('ORDER_PLACED', common)
  if (version === 1) return { placed, noted }
  const toTwo = (data: unknown): unknown => ({ ...(data as Fact), desk: 'none' })
  const upcasters = { 1: toTwo }
  const placed2 = event('ORDER_PLACED', { ...common, schema: fact2, version: 2, upcasters })
  return { placed: placed2 as typeof placed, noted }
}

const echo = z.object({ name: z.string(), eventId: z.string(), key: z.string() })

/** The topic of what handlers publish, beside that of the events. */
export function echoTopic(topic: string): string {
  return `${topic}-echo`
}

/** The event that a handler publishes beside a row of effect. */
function echoed(topic: string) {
  const common = { source: 'CHAOS', topic: echoTopic(topic), schema: echo }
  return event('ORDER_ECHOED', { ...common, key: ({ key }: z.infer<typeof echo>) => key })
}

/** What the application's handlers need of the process they run in. */
export interface Surroundings {
  readonly worker: string
  readonly historyFile: string
  readonly effectsUrl: string
  /** A place at which the scenario may end or stop the process. */
  readonly point: (name: string) => void | Promise<void>
  readonly batchRecords: number
  readonly transactionTimeoutMs: number
  readonly topic: string
  /** The version of the event that it knows. Default 1. */
  readonly eventVersion?: EventVersion
  /** Where the application begins to read. Default: where the log does. */
  readonly start?: 'end'
  /** Default: the application's own. */
  readonly maxValueBytes?: number
  /** Handlers publish an event beside each row of effect. Default `false`. */
  readonly outbox?: boolean
  /** Handlers handle an event once, however often it was appended. Default `false`. */
  readonly once?: boolean
  /** Dead letters are copied to the log. Default `false`. */
  readonly exportDeadLetters?: boolean
}

/** The scenario's application: two jobs per record, one of them with an effect row, and a ledger in the transaction. */
export function chaosApplication(around: Surroundings): Application {
  const args = z.object({ eventId: z.string(), key: z.string(), behaviour: z.string() })
  const { outbox = false } = around
  const echo = echoed(around.topic)
  const options = { args, queue: QUEUE, maxAttempts: 20, maxCrashes: 10, backoff: BACKOFF }
  const call = job(CALL, {
    ...options,
    async handle({ behaviour }, context) {
      await around.point('handler:started')
      await callOutside(around, context)
      await around.point('handler:called')
      if (behaviour === 'job-killer') await around.point('handler:killer')
      failAs(behaviour, context)
    },
  })
  const record = job(RECORD, {
    ...options,
    async handle({ eventId, key, behaviour }, context) {
      await callOutside(around, context)
      failAs(behaviour, context)
      await around.point('handler:before-transaction')
      await context.transaction(async (tx) => {
        await tx.query(
          `insert into observer.effect (source, name, event_id, key, job_id, attempt) values ('job', $1, $2, $3, $4, $5)`,
          [RECORD, eventId, key, context.id, context.attempt],
        )
        if (outbox) await tx.publish(echo, { name: RECORD, eventId, key })
        await around.point('handler:in-transaction')
      })
    },
  })
  const { placed } = chaosEvents(around.topic, around.eventVersion)
  const jobArgs = ({ id, data }: EventOf<typeof placed>) =>
    data.behaviour === 'quiet'
      ? skip('quiet')
      : { eventId: id, key: data.key, behaviour: data.behaviour }
  const { batchRecords, transactionTimeoutMs, start = 'beginning', maxValueBytes } = around
  const limit = maxValueBytes === undefined ? {} : { maxValueBytes }
  const once = around.once === true ? ({ once: '1h' } as const) : {}
  const { exportDeadLetters = false } = around
  const itsOptions: ApplicationOptions = {
    batchRecords,
    transactionTimeoutMs,
    start,
    exportDeadLetters,
    ...limit,
  }
  return application(APPLICATION, itsOptions)
    .on(placed, toJob(call, jobArgs), once)
    .on(placed, toJob(record, jobArgs), once)
    .on(
      placed,
      inTransaction({
        prepare: ({ data }) => (data.behaviour === 'quiet' ? skip('quiet') : randomUUID()),
        apply: async ({ id, data }, execution, { record, generation, tx }) => {
          const { topicId, partition, offset } = record
          const start = String(process.hrtime.bigint())
          if (data.behaviour === 'apply-hopeless') throw permanent('this record is hopeless')
          await tx.query(
            `insert into observer.effect (source, name, event_id, key, topic_id, partition, "offset", generation, execution)
             values ('record', $1, $2, $3, $4, $5, $6, $7, $8)`,
            [LEDGER, id, data.key, topicId, partition, offset, generation, execution],
          )
          if (outbox) await tx.publish(echo, { name: LEDGER, eventId: id, key: data.key })
          await around.point('handler:applied')
          appendEntry(around.historyFile, {
            entry: 'executed',
            execution,
            handler: LEDGER,
            key: data.key,
            worker: around.worker,
            start,
            end: String(process.hrtime.bigint()),
          })
        },
      }),
      { name: LEDGER, ...once },
    )
}

async function callOutside(around: Surroundings, context: JobContext): Promise<void> {
  const { id: jobId, kind, attempt, idempotencyKey, signal } = context
  const response = await fetch(around.effectsUrl, {
    method: 'POST',
    body: JSON.stringify({ idempotencyKey, jobId, attempt, kind }),
    signal,
  })
  if (!response.ok) throw new Error(`the outside world answered ${response.status}`)
}

function failAs(behaviour: string, { attempt }: JobContext): void {
  if (behaviour === 'job-hopeless') throw permanent('this job is hopeless')
  if (behaviour === 'job-flaky' && attempt === 1) throw new Error('the first attempt fails')
}
