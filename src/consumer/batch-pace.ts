import type { ResolvedApplicationOptions } from './application.ts'

/** How long handlers are to be busy with a batch at least, in milliseconds. */
const AIM_MS = 250
/** And how many times as long as it takes to begin and to commit. */
const COMMITS = 20
/** What part of its transaction's limit they may take at most, as far as is known: what is left is for surprises. */
const LIMIT_SHARE = 4
/** How many times as many as make a flood. */
const FLOODS = 2
/** Weight of the newest batch in the moving averages. */
const WEIGHT = 0.5
/** Rounds that `prepare` makes over its keys at least, so that the last one, half empty, counts for little. */
const ROUNDS = 4

/**
 * How many records a batch of a partition has: as many as its handlers are through with in a quarter of a second, up to
 * `batchRecords`. A batch that takes longer holds its records in memory and its rows locked for longer, loses more when its
 * owner dies, and once it takes longer than its transaction may, everything up to there has been for nothing.
 *
 * Where the commit takes long, handlers get twenty times as long: a database that is slow under load would else be given
 * more commits the slower it becomes. And while the limit allows it, a batch is large enough for the flood brake to find a
 * flood in it, before the first dead letter. Only handlers that are called record by record count; what is done set-wise takes
 * about as long whatever the size of a batch.
 */
export class BatchPace {
  readonly #options: PaceOptions
  /** Moving averages of what a record takes, in milliseconds. */
  #prepareMs = 0
  #applyMs = 0
  /** Of what a batch takes beside its handlers, in milliseconds. */
  #commitMs = 0

  constructor(options: PaceOptions) {
    this.#options = options
  }

  /** Records of the next batch. */
  get records(): number {
    const { batchRecords, floodBrake, prepareConcurrency, transactionTimeoutMs } = this.#options
    // A flood is found in a batch before its first dead letter only if the batch is large enough to hold one.
    const least = floodBrake === false ? 1 : floodBrake.atLeast * FLOODS
    const aimMs = Math.min(
      Math.max(AIM_MS, this.#commitMs * COMMITS, this.#applyMs * least),
      transactionTimeoutMs / LIMIT_SHARE,
    )
    const prepared = Math.max(prepareConcurrency * ROUNDS, least, aimMs / this.#prepareMs)
    return Math.max(1, Math.floor(Math.min(batchRecords, prepared, aimMs / this.#applyMs)))
  }

  /** So many records were prepared in `ms`. */
  prepared(records: number, ms: number): void {
    if (records > 0) this.#prepareMs = average(this.#prepareMs, ms / records)
  }

  /** The handlers of so many records were called, one record after the other, in `ms`. */
  applied(records: number, ms: number): void {
    if (records > 0) this.#applyMs = average(this.#applyMs, ms / records)
  }

  /** A batch was committed, and its transaction took `ms` beside what its handlers took. */
  committed(ms: number): void {
    this.#commitMs = average(this.#commitMs, ms)
  }
}

type PaceOptions = Pick<
  ResolvedApplicationOptions,
  'batchRecords' | 'floodBrake' | 'prepareConcurrency' | 'transactionTimeoutMs'
>

function average(before: number, newest: number): number {
  return before + (newest - before) * WEIGHT
}
