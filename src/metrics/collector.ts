import { listConsumers, type ConsumerSummary } from '../consumer/queries.ts'
import { TimeoutReason } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { within } from '../core/within.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log } from '../log/port.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction } from '../postgres/transaction.ts'
import { formatMetrics } from './exposition.ts'
import { consumerFamilies, databaseFamilies, readFigures } from './figures.ts'

/** What {@link Collector} works with. */
export interface CollectorOptions {
  readonly core: Core
  /** Uses one of its connections at a time, and one more where the log is in the same database. */
  readonly pool: Pool
  readonly log: Log
  /** Longest time of one statement, in milliseconds. Default 5,000. */
  readonly statementMs?: number
  /** How long the log may take to say how far it reaches, in milliseconds. Default 4,000. */
  readonly logMs?: number
}

/** How long figures are given again to whoever asks, in milliseconds. */
const FRESH_MS = 1_000
/** Partitions whose next record is read for its age: those furthest behind. */
const LAG_TIMES = 64

/**
 * Reads the metrics of the whole installation: one reading at a time, whoever asks meanwhile gets what that finds, and so does
 * whoever asks within a second.
 */
export class Collector {
  readonly #options: CollectorOptions
  #reading: Promise<string> | undefined
  #consumers: Promise<ConsumerSummary[]> | undefined
  #last: { readonly text: string; readonly at: number } | undefined

  constructor(options: CollectorOptions) {
    this.#options = options
  }

  /** The metrics as text. Rejects when the database does not answer. */
  async collect(): Promise<string> {
    const { clock } = this.#options.core
    if (this.#last !== undefined && clock.monotonicMs() - this.#last.at < FRESH_MS)
      return this.#last.text
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #read(): Promise<string> {
    const { core, pool, statementMs = 5_000 } = this.#options
    const figures = await transaction(pool, core, readFigures, { timeoutMs: statementMs })
    const consumers = await this.#readConsumers()
    const text = formatMetrics([...databaseFamilies(figures), ...consumerFamilies(consumers)])
    this.#last = { text, at: core.clock.monotonicMs() }
    return text
  }

  /** `undefined`: the log has not answered in time. What was asked of it may still be on its way, and is not asked twice. */
  async #readConsumers(): Promise<ConsumerSummary[] | undefined> {
    const { core, logMs = 4_000 } = this.#options
    this.#consumers ??= this.#listConsumers().finally(() => {
      this.#consumers = undefined
    })
    try {
      return await within(this.#consumers, {
        clock: core.clock,
        timeoutMs: logMs,
        signal: new AbortController().signal,
      })
    } catch (error) {
      // The other figures do not depend on the log, and are needed most when it is away.
      if (error instanceof TimeoutReason) return undefined
      throw error
    }
  }

  async #listConsumers(): Promise<ConsumerSummary[]> {
    const { pool, log } = this.#options
    try {
      return await listConsumers(pool, log, { lagTimes: LAG_TIMES })
    } catch (error) {
      // How far the log reaches may be known where its records cannot be read.
      if (isMillraceError(error) && error.code.startsWith('E_LOG_')) return listConsumers(pool, log)
      throw error
    }
  }
}
