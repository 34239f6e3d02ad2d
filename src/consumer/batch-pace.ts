import type { ResolvedApplicationOptions } from './application.ts'

/** How long handlers are to be busy with a batch, in milliseconds: long enough that a commit beside it is nothing. */
const AIM_MS = 250
/** Least share of the transaction's limit that is left over, for what varies from record to record. */
const LIMIT_SHARE = 4
/** Weight of the newest batch in the moving averages. */
const WEIGHT = 0.5
/** Rounds that `prepare` makes over its keys at least, so that the last one, half empty, counts for little. */
const ROUNDS = 4

/**
 * How many records a batch of a partition has: as many as its handlers are through with in a quarter of a second, up to
 * `batchRecords`. A batch that takes longer holds its records in memory and its rows locked for longer, loses more when its
 * owner dies, and once it takes longer than its transaction may, everything up to there has been for nothing.
 *
 * Only handlers that are called record by record count. What is done set-wise, the commit and a slow database cost a batch
 * about the same whatever its size: small ones would make that worse.
 */
export class BatchPace {
  readonly #options: PaceOptions
  /** Moving averages of what a record takes, in milliseconds. */
  #prepareMs = 0
  #applyMs = 0

  constructor(options: PaceOptions) {
    this.#options = options
  }

  /** Records of the next batch. */
  get records(): number {
    const { batchRecords, prepareConcurrency, transactionTimeoutMs } = this.#options
    const aimMs = Math.min(AIM_MS, transactionTimeoutMs / LIMIT_SHARE)
    const prepared = Math.max(prepareConcurrency * ROUNDS, aimMs / this.#prepareMs)
    return Math.max(1, Math.floor(Math.min(batchRecords, prepared, aimMs / this.#applyMs)))
  }

  /** So many records were prepared in `ms`. */
  prepared(records: number, ms: number): void {
    this.#prepareMs = average(this.#prepareMs, records, ms)
  }

  /** The handlers of so many records were called, one record after the other, in `ms`. */
  applied(records: number, ms: number): void {
    this.#applyMs = average(this.#applyMs, records, ms)
  }
}

type PaceOptions = Pick<
  ResolvedApplicationOptions,
  'batchRecords' | 'prepareConcurrency' | 'transactionTimeoutMs'
>

function average(before: number, records: number, ms: number): number {
  return records === 0 ? before : before + (ms / records - before) * WEIGHT
}
