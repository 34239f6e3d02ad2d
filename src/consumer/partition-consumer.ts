import { StopReason, throwIfAborted } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log, ReadResult } from '../log/port.ts'
import type { BackPressure } from './back-pressure.ts'
import { Batch } from './batch.ts'
import type { BatchEnvironment } from './batch-environment.ts'
import { hashOf } from './record-hash.ts'
import type { Fetcher } from './fetcher.ts'
import { haltPosition, noteWaiting, type OwnedPosition } from './positions.ts'

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
      const broken = await this.#checkSeam()
      if (broken !== undefined) return await this.#halt(broken)
      return await this.#read()
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
          ? 'the partition belongs to another process now'
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
      if (result.outOfRange !== undefined)
        return this.#halt(outOfRange(this.#position.next, result))
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

  /**
   * Whether the log is still the one this position was made in: the position lies within it, and the record last seen,
   * if it is still there, has the content it had.
   */
  async #checkSeam(): Promise<string | undefined> {
    const { log } = this.#options
    const { topic, topicId, partition, next, lastOffset, lastHash } = this.#position
    const range = (await log.offsets(topicId)).find((offsets) => offsets.partition === partition)
    throwIfAborted(this.#draining.signal)
    if (range === undefined)
      return `partition ${partition} of ${topic} (id ${topicId}) is not in the log any more`
    if (next < range.start || next > range.appendOffset) {
      return `position ${next} lies outside of the log, which has ${range.start} to ${range.appendOffset}`
    }
    if (lastOffset === null || lastHash === null || lastOffset < range.start) return undefined
    const [seen] = await log.read(
      [{ topic, topicId, partition, offset: lastOffset, maxRecords: 1 }],
      {
        signal: this.#draining.signal,
      },
    )
    const record = seen?.records[0]
    if (record === undefined || record.offset !== lastOffset) return undefined
    return Buffer.from(lastHash).equals(hashOf(record))
      ? undefined
      : `the record at offset ${lastOffset} is not the one that was handled there: the log was rewritten`
  }

  async #halt(reason: string): Promise<PartitionEnd> {
    const { core, environment } = this.#options
    const { application, topic, partition } = this.#position
    core.logger.error(
      { application, topic, partition, reason },
      'the log is not what it was: this partition is stopped until somebody decides',
    )
    await haltPosition(environment.pool, this.#position, reason, {
      processId: environment.processId,
      epoch: this.#position.epoch,
    })
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

function outOfRange(position: bigint, result: ReadResult): string {
  if (result.outOfRange === 'before-start')
    return `position ${position} was purged: the log starts at ${result.logStart}`
  if (result.outOfRange === 'behind-end')
    return `position ${position} is behind the end of the log, ${result.end}: its tail was lost`
  return `partition ${result.partition} of the topic with id ${result.topicId} is not in the log any more`
}
