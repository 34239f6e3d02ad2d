import { StopReason } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log, ReadResult } from '../log/port.ts'
import type { BackPressure } from './back-pressure.ts'
import { Batch } from './batch.ts'
import type { BatchEnvironment } from './batch-environment.ts'
import type { Fetcher } from './fetcher.ts'
import { haltPosition, type Finding } from './gaps.ts'
import { noteWaiting, type OwnedPosition } from './positions.ts'
import { checkSeam, findingOf } from './seam.ts'

/** Options of {@link PartitionConsumer}. */
export interface PartitionConsumerOptions {
  readonly core: Core
  readonly log: Log
  readonly fetcher: Fetcher
  readonly position: OwnedPosition
  readonly environment: Omit<BatchEnvironment, 'onWaiting'>
  /** Undefined for an application that makes no jobs. */
  readonly backPressure: BackPressure | undefined
}

/** How a partition's reading ended. */
export type PartitionEnd =
  /** Asked to; the position may be given back. */
  | 'drained'
  /** The position is not where it was, or not ours: look again. */
  | 'lost'
  /** The log is not what it was: stopped until somebody decides. */
  | 'halted'

/**
 * Reads one owned partition, batch after batch, one read ahead.
 *
 * Modes: checking the seam → reading → (drain: the batch at hand is finished) → ended; `abandon` ends at once, leaving
 * what is not committed to the next owner.
 */
export class PartitionConsumer {
  readonly #options: PartitionConsumerOptions
  readonly #draining = new AbortController()
  readonly #abandoned = new AbortController()
  #position: OwnedPosition
  #running: Promise<PartitionEnd> | undefined
  #waiting: string | null = null
  /** Whether a batch is under way. */
  #busy = false

  constructor(options: PartitionConsumerOptions) {
    this.#options = options
    this.#position = options.position
  }

  get position(): OwnedPosition {
    return this.#position
  }

  /** Starts reading; resolves when it has ended, never rejects. */
  start(): Promise<PartitionEnd> {
    this.#running ??= this.#run()
    return this.#running
  }

  /** Finishes the batch at hand, reads no other. A batch that takes longer than `graceMs` is rolled back. */
  async drain(graceMs = 5_000): Promise<void> {
    this.#draining.abort(new StopReason())
    const cancel = this.#options.core.clock.after(graceMs, () =>
      this.#abandoned.abort(new StopReason()),
    )
    await this.#running
    cancel()
  }

  /** Ends at once. What a transaction has not committed is rolled back. */
  async abandon(): Promise<void> {
    this.#draining.abort(new StopReason())
    this.#abandoned.abort(new StopReason())
    await this.#running
  }

  async #run(): Promise<PartitionEnd> {
    const { core, environment } = this.#options
    const { application, topic, partition } = this.#position
    try {
      const finding = await checkSeam(this.#options.log, this.#position, this.#draining.signal)
      return finding === undefined ? await this.#read() : await this.#halt(finding)
    } catch (error) {
      if (this.#abandoned.signal.aborted && this.#busy) {
        core.logger.info(
          { application, topic, partition, processId: environment.processId },
          'a batch was rolled back: the partition was given up while it was under way',
        )
      }
      if (this.#draining.signal.aborted) return 'drained'
      const expected = isMillraceError(error) && error.code === 'E_CONSUMER_NOT_OWNER'
      core.logger[expected ? 'info' : 'error'](
        {
          application,
          topic,
          partition,
          processId: environment.processId,
          error: describeError(error),
        },
        expected
          ? 'the partition belongs to another process now, or was moved'
          : 'reading a partition failed; its position is looked at anew',
      )
      return 'lost'
    } finally {
      // Takes back a read ahead that nobody waits for any more.
      this.#draining.abort(new StopReason())
    }
  }

  async #read(): Promise<PartitionEnd> {
    const { environment, backPressure } = this.#options
    let read = this.#next(this.#position.next)
    while (!this.#draining.signal.aborted) {
      const result = await read
      const finding = findingOf(this.#position, result)
      if (finding !== undefined) return this.#halt(finding)
      read = this.#next(result.nextOffset)
      await backPressure?.ready(this.#draining.signal, (reason) => this.#say(reason))
      this.#busy = true
      const { next, jobs } = await Batch.run(
        { ...environment, onWaiting: (reason) => this.#say(reason) },
        this.#position,
        result,
        this.#abandoned.signal,
      )
      this.#busy = false
      this.#position = { ...this.#position, next }
      backPressure?.added(jobs)
    }
    return 'drained'
  }

  #next(offset: bigint): Promise<ReadResult> {
    const { fetcher, environment } = this.#options
    const { topic, topicId, partition } = this.#position
    const { batchRecords, batchBytes } = environment.options
    const read = fetcher.next(
      { topic, topicId, partition, offset, maxRecords: batchRecords, maxBytes: batchBytes },
      this.#draining.signal,
    )
    // Read ahead and perhaps never awaited: a drain ends it.
    read.catch(() => {})
    return read
  }

  async #halt(finding: Finding): Promise<PartitionEnd> {
    const { core, environment } = this.#options
    const { processId, pool } = environment
    const { epoch } = this.#position
    await haltPosition({ core, pool }, this.#position, finding, { processId, epoch })
    return 'halted'
  }

  #say(reason: string | null): void {
    if (reason === this.#waiting) return
    this.#waiting = reason
    const { environment, core } = this.#options
    noteWaiting(environment.pool, environment.processId, this.#position, reason).catch(
      (error: unknown) =>
        core.logger.debug({ error }, 'what the partition waits for could not be noted'),
    )
  }
}
