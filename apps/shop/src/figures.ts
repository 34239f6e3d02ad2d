import { setTimeout as sleep } from 'node:timers/promises'
import type { Millrace } from 'millrace'
import type { Mailbox } from './mail/mailbox.ts'

/** The shop's figures at one moment. Counts are since the first start, if not said otherwise. */
export interface Figures {
  readonly at: string
  /** Written by the tills. */
  readonly purchases: number
  /** Records in the log, those of the tills included. */
  readonly events: number
  /** Records that handlers took, per handler. */
  readonly handled: number
  /** Records that no handler was for, or that one skipped. */
  readonly filtered: number
  readonly jobsCompleted: number
  readonly attemptsFailed: number
  readonly deadLetters: number
  /** Those that wait for somebody, now. */
  readonly deadLettersOpen: number
  /** Those that came to be open within the last hour. */
  readonly deadLettersLastHour: number
  /** How long the oldest of those that are open has waited, in milliseconds. `null`: none is open. */
  readonly deadLetterAgeMs: number | null
  /** Jobs not finished, now. */
  readonly backlog: number
  /** Records not read yet, over all applications, now. `null`: the log cannot say just now. */
  readonly lag: number | null
  /** Partitions that are stopped until somebody decides, over all applications, now. */
  readonly partitionsHalted: number
  /** Records written in transactions and not known to be on Kafka yet, now. Always 0 where events are in the database. */
  readonly outbox: number
  /** How long the oldest of these has waited, in milliseconds. `null`: none waits. */
  readonly outboxAgeMs: number | null
  /** Mails in the mailbox, now. */
  readonly mails: number
  /** Mails that arrived again and were not stored again, since this start. */
  readonly mailsAgain: number
  /** Whether these figures could be read just now; else they are the last ones known. */
  readonly database: 'up' | 'down'
}

const NOTHING: Figures = {
  at: '',
  purchases: 0,
  events: 0,
  handled: 0,
  filtered: 0,
  jobsCompleted: 0,
  attemptsFailed: 0,
  deadLetters: 0,
  deadLettersOpen: 0,
  deadLettersLastHour: 0,
  deadLetterAgeMs: null,
  backlog: 0,
  lag: 0,
  partitionsHalted: 0,
  outbox: 0,
  outboxAgeMs: null,
  mails: 0,
  mailsAgain: 0,
  database: 'down',
}

/** After this long without an answer the database counts as down, in milliseconds. */
const SILENT_MS = 5_000

/** Reads the figures. */
export class FigureReader {
  readonly #millrace: Millrace
  readonly #mailbox: Mailbox
  #last: Figures = NOTHING
  #lastAt = performance.now()
  #reading: Promise<Figures> | undefined

  constructor(millrace: Millrace, mailbox: Mailbox) {
    this.#millrace = millrace
    this.#mailbox = mailbox
  }

  /** The figures as of now; as last known when the database cannot be reached. */
  read(): Promise<Figures> {
    this.#reading ??= this.#ask().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  /** The same; undefined when the database has not answered after this time. */
  async readWithin(patienceMs: number): Promise<Figures | undefined> {
    const late = new AbortController()
    const timeout = sleep(patienceMs, undefined, { signal: late.signal }).catch(() => undefined)
    const figures = await Promise.race([this.read(), timeout])
    late.abort()
    return figures
  }

  /** Whether nothing was read yet, and not for so long that the database counts as down. */
  get isStarting(): boolean {
    return this.#last === NOTHING && !this.#isSilent
  }

  /** The figures as last known. A database that has been silent for long, or so far, counts as down. */
  lastKnown(): Figures {
    return this.#known(this.#last === NOTHING || this.#isSilent ? 'down' : 'up')
  }

  get #isSilent(): boolean {
    return performance.now() - this.#lastAt > SILENT_MS
  }

  #known(database: Figures['database']): Figures {
    const { size, known } = this.#mailbox
    return { ...this.#last, at: new Date().toISOString(), mails: size, mailsAgain: known, database }
  }

  async #ask(): Promise<Figures> {
    try {
      const {
        at,
        events,
        handled,
        filtered,
        jobsCompleted,
        attemptsFailed,
        deadLetters,
        deadLettersOpen,
        deadLettersLastHour,
        deadLetterAgeMs,
        backlog,
        lag,
        partitionsHalted,
        outbox,
        outboxAgeMs,
      } = await this.#millrace.summary()
      const purchases = await this.#purchases()
      this.#last = {
        at: at.toISOString(),
        purchases,
        events,
        handled,
        filtered,
        jobsCompleted,
        attemptsFailed,
        deadLetters,
        deadLettersOpen,
        deadLettersLastHour,
        deadLetterAgeMs,
        backlog,
        lag,
        partitionsHalted,
        outbox,
        outboxAgeMs,
        mails: this.#mailbox.size,
        mailsAgain: this.#mailbox.known,
        database: 'up',
      }
      this.#lastAt = performance.now()
      return this.#last
    } catch {
      // The shop goes on without its database until that is back, and the figures say so.
      return this.#known('down')
    }
  }

  async #purchases(): Promise<number> {
    const { rows } = await this.#millrace.database.query<{ written: string }>(
      '/* shop:purchases */ select next_purchase::text as written from shop_tills.progress',
    )
    return Number(rows[0]?.written ?? 0)
  }
}
