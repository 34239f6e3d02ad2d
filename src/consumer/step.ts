import type { Core } from '../core/core.ts'
import type { Logger } from '../core/logger.ts'
import { within } from '../core/within.ts'
import type { RejectedRecord } from '../events/decode.ts'
import type { ReceivedEvent } from '../events/received-event.ts'
import type { LogRecord } from '../log/port.ts'
import type { DeadLetterStage } from '../dead-letter/dead-letter.ts'
import type { ForeignDeadLetter } from '../dead-letter/foreign.ts'
import type { RecordContext, RecordHandler, Skip } from './handler.ts'

type Event = ReceivedEvent<string, unknown>

/** What a handler with `once` goes by. */
export interface OnceRule {
  /** Tells it apart from every other handler of every application. */
  readonly identity: string
  /** How long it remembers an event that it has had, in milliseconds. */
  readonly rememberMs: number
}

/** A handler of an application, bound and named. */
export interface BoundHandler {
  readonly name: string
  readonly run: RecordHandler<Event>
  /** Given: it handles an event once, however often it was appended. */
  readonly once?: OnceRule
}

/** One record for one handler, on its way through a batch. Attempts and failures outlive a rolled-back transaction. */
export interface Step {
  readonly handler: BoundHandler
  readonly event: Event
  readonly context: StepContext
  prepared: unknown
  /** Set once it is certain that this record fails for this handler. */
  failure: { readonly stage: DeadLetterStage; readonly error: unknown } | undefined
  /** Set when `prepare` said that there is nothing to do, or when its event is known to be a duplicate. */
  skipped: Skip | undefined
  /** Set once it was asked for; see `keyOf` of seen-events.ts. */
  seenKey?: string
}

/** A record of a batch with what is to become of it. */
export interface Item {
  readonly record: LogRecord
  /** Of the position that read it. */
  readonly generation: number
  readonly steps: readonly Step[]
  /** Why nobody handles it, if nobody does. */
  readonly filtered: string | undefined
  /** Why it cannot be read, if it cannot. */
  readonly rejected: RejectedRecord | undefined
  /** What another program says that has set it aside, where it stands in such a topic. */
  readonly taken?: ForeignDeadLetter
}

/** What a handler is told; its signal and logger are only made for handlers that ask. */
export class StepContext implements RecordContext {
  readonly application: string
  readonly handler: string
  readonly record: LogRecord
  readonly generation: number
  attempt = 1
  readonly #core: Core
  readonly #stopping: AbortSignal
  #controller: AbortController | undefined
  #logger: Logger | undefined

  constructor(
    core: Core,
    application: string,
    handler: string,
    record: LogRecord,
    generation: number,
    stopping: AbortSignal,
  ) {
    this.#core = core
    this.application = application
    this.handler = handler
    this.record = record
    this.generation = generation
    this.#stopping = stopping
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    return AbortSignal.any([this.#controller.signal, this.#stopping])
  }

  get logger(): Logger {
    this.#logger ??= this.#core.logger.child({
      application: this.application,
      handler: this.handler,
      topic: this.record.topic,
      partition: this.record.partition,
      offset: String(this.record.offset),
    })
    return this.#logger
  }

  /**
   * Waits for `result`, no longer than `timeoutMs` or than the partition is ours; then aborts the signal. What comes later
   * is ignored.
   */
  within<T>(result: PromiseLike<T>, timeoutMs: number): Promise<T> {
    return within(result, {
      clock: this.#core.clock,
      timeoutMs,
      signal: this.#stopping,
      onGiveUp: (reason) => {
        this.#controller?.abort(reason)
        this.#controller = undefined
      },
    })
  }
}
