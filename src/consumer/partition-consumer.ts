import { StopReason } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import type { LogFields } from '../core/logger.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log, ReadResult } from '../log/port.ts'
import type { BackPressure } from './back-pressure.ts'
import { Batch } from './batch.ts'
import type { BatchEnvironment } from './batch-environment.ts'
import { BatchPace } from './batch-pace.ts'
import { checkpointsOfReading } from './checkpoints.ts'
import type { Fetcher } from './fetcher.ts'
import { haltPosition, type Finding } from './gaps.ts'
import { FloodStopReason, PartitionBrake } from './partition-brake.ts'
import type { PositionHints } from './position-hints.ts'
import { noteWaiting, type OwnedPosition } from './positions.ts'
import { checkSeam, findingOf, type SeamReader } from './seam.ts'

/** Options of {@link PartitionConsumer}. */
export interface PartitionConsumerOptions {
  readonly core: Core
  readonly log: Log
  readonly fetcher: Fetcher
  readonly position: OwnedPosition
  readonly environment: Omit<BatchEnvironment, 'onWaiting' | 'brake'>
  /** Undefined for an application that makes no jobs. */
  readonly backPressure: BackPressure | undefined
  readonly hints: PositionHints
}

/** Errors of a log that cannot be asked just now. */
const UNAVAILABLE: ReadonlySet<string> = new Set(['E_LOG_CONNECT', 'E_LOG_UNAVAILABLE'])
const ASK_AGAIN_MS = 500

/** How a partition's reading ended. */
export type PartitionEnd =
  /** Asked to; the position may be given back. */
  | 'drained'
  /** The position is not where it was, or not ours: look again. */
  | 'lost'
  /** The log is not what it was, or most of its next records fail alike: stopped until somebody decides. */
  | 'halted'

/**
 * Reads one owned partition, batch after batch, one read ahead.
 *
 * Modes: checking the seam → reading ⇄ checking the seam → (drain: the batch at hand is finished) → ended; `abandon` ends
 * at once, leaving what is not committed to the next owner.
 *
 * The seam is checked when the partition is taken over, and whenever what was read comes from another history than the
 * last check (see `ReadResult.history`), before anything is decided on it. Without that, nobody who is alive would notice
 * a lost tail, walked through for a position of 100:
 * 1. The log loses all from 50 on; producers are back before us and write 60 records: the log ends at 110.
 * 2. We read on from 100. What we get is in range and sound, and 50 … 99, which are other records now, are skipped.
 * 3. The batch is committed, and the hash of its last record takes the place of the one that would have told.
 * Every batch that is committed is therefore of the history in which the position was last found to be, and the hash in
 * its row is of that history too.
 *
 * A batch that is at hand when the log changes behind it, in work or held back by back-pressure, is of the old history,
 * as is its position, and it is committed all the same. Its records follow upon those before them, they were there and
 * acknowledged when they were read, and the next owner could not tell it from one that was committed just before the
 * change. Nothing is lost by it: its last record becomes the one that the next check looks for, and if the log has lost
 * that, the check says so before anything new is read, with all of the old history still to be found among the
 * checkpoints, so that a rewind begins where the two part. To roll it back would mean to ask the log before each commit,
 * and would still leave the moment between the answer and the commit. The same holds for a read ahead of the old history.
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
  /** Whether nothing is done but waiting for the log; and why the log does not give anything just now. */
  #isReading = false
  /** The history in which the position was last found to be. Undefined: nobody could say. */
  #history: string | undefined
  #saidUnverifiable = false
  readonly #pace: BatchPace
  #unavailable: string | undefined

  constructor(options: PartitionConsumerOptions) {
    this.#options = options
    this.#position = options.position
    this.#pace = new BatchPace(options.environment.options)
  }

  get position(): OwnedPosition {
    return this.#position
  }

  /** Starts reading; resolves when it has ended, never rejects. */
  start(): Promise<PartitionEnd> {
    this.#running ??= this.#run().then(async (end) => {
      const { hints } = this.#options
      if (end === 'lost') hints.forget(this.#position)
      else await hints.last(this.#position)
      return end
    })
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
    this.#options.hints.forget(this.#position)
    this.#draining.abort(new StopReason())
    this.#abandoned.abort(new StopReason())
    await this.#running
  }

  async #run(): Promise<PartitionEnd> {
    const { core, environment } = this.#options
    const { application, topic, partition } = this.#position
    try {
      const finding = await this.#checkSeam()
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
    const { environment, backPressure, hints } = this.#options
    hints.note(this.#position)
    const { floodBrake } = environment.options
    const brake = floodBrake === false ? undefined : new PartitionBrake(floodBrake, this.#position)
    let read = this.#next(this.#position.next)
    while (!this.#draining.signal.aborted) {
      const result = await this.#ofOurHistory(read)
      if ('code' in result) return this.#halt(result)
      await backPressure?.ready(this.#draining.signal, (reason) => this.#say(reason))
      // Not before: a partition that is held back holds one batch in memory, and not two.
      read = this.#next(result.nextOffset)
      this.#busy = true
      const done = await Batch.run(
        { ...environment, brake, pace: this.#pace, onWaiting: (reason) => this.#say(reason) },
        this.#position,
        result,
        this.#abandoned.signal,
      ).catch((error: unknown) => {
        if (error instanceof FloodStopReason) return error
        throw error
      })
      if (done instanceof FloodStopReason) {
        await failpoint('brake:found')
        const end = await this.#halt(done.finding)
        await failpoint('brake:stopped')
        return end
      }
      const { next, last, jobs } = done
      this.#busy = false
      const seen = last && { lastOffset: last.offset, lastHash: last.hash }
      this.#position = { ...this.#position, next, ...seen }
      hints.note(this.#position)
      backPressure?.added(jobs)
    }
    return 'drained'
  }

  /** What was read, once it is known to go on from the position; else what is wrong. */
  async #ofOurHistory(read: Promise<ReadResult>): Promise<ReadResult | Finding> {
    const { clock, logger } = this.#options.core
    let ahead = read
    for (;;) {
      const now = ahead
      const result = await this.#await(() => now)
      const { history } = result
      if (history === this.#history || result.outOfRange !== undefined) {
        return findingOf(this.#position, result) ?? result
      }
      const { application, topic, partition, lastOffset } = this.#position
      logger.debug(
        { application, topic, partition, history },
        'what is read may come from another log than before: looking for the last record that was handled',
      )
      if (lastOffset === null) this.#history = history
      else {
        const finding = await this.#checkSeam(history)
        if (finding !== undefined) return finding
      }
      if (this.#history === history) continue
      // It changed once more, or the last record cannot be seen yet.
      if (this.#history === undefined)
        await clock.sleep(ASK_AGAIN_MS, { signal: this.#draining.signal })
      ahead = this.#next(this.#position.next)
    }
  }

  /**
   * Looks whether the log is still the one that the position was made in, and keeps in which history it was found.
   * @param read The history of what is to be decided on: taken where the look itself had nothing to read.
   */
  async #checkSeam(read?: string): Promise<Finding | undefined> {
    const look = await checkSeam(this.#seamReader(), this.#position)
    if (look.seam === 'broken') return look.finding
    if (look.seam === 'unverifiable' && !this.#saidUnverifiable) {
      this.#saidUnverifiable = true
      const message =
        'none of the records that were handled is in the log any more, so nobody can say whether it is the same; going on'
      this.#log('info', { next: String(this.#position.next) }, message)
    }
    this.#history = look.seam === 'hidden' ? undefined : (look.history ?? read)
    return undefined
  }

  #next(offset: bigint): Promise<ReadResult> {
    const { fetcher, environment } = this.#options
    const { topic, topicId, partition } = this.#position
    const maxRecords = this.#pace.records
    const maxBytes = environment.options.batchBytes
    const read = fetcher.next(
      { topic, topicId, partition, offset, maxRecords, maxBytes },
      this.#draining.signal,
      (reason) => this.#onUnavailable(reason),
    )
    // Read ahead and perhaps never awaited: a drain ends it.
    read.catch(() => {})
    return read
  }

  /** Waits for the log; says why, when it cannot give anything just now. */
  async #await<T>(answer: () => Promise<T>): Promise<T> {
    this.#isReading = true
    if (this.#unavailable !== undefined) this.#say(this.#unavailable)
    try {
      return await answer()
    } finally {
      this.#isReading = false
      if (this.#unavailable !== undefined) {
        this.#unavailable = undefined
        this.#say(null)
        this.#log('info', {}, 'the partition can be read again')
      }
    }
  }

  /** Asks the log until it can say. */
  async #available<T extends { readonly unavailable?: string }>(
    ask: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const { clock } = this.#options.core
    return this.#await(async () => {
      for (;;) {
        try {
          const answer = await ask()
          if (answer?.unavailable === undefined) return answer
          this.#onUnavailable(answer.unavailable)
        } catch (error) {
          if (!isMillraceError(error) || !UNAVAILABLE.has(error.code)) throw error
          this.#onUnavailable(error.message)
        }
        await clock.sleep(ASK_AGAIN_MS, { signal: this.#draining.signal })
      }
    })
  }

  /** While a batch is under way, what that waits for is more to the point. */
  #onUnavailable(reason: string): void {
    if (this.#unavailable === undefined) {
      this.#log('warn', { reason }, 'the partition cannot be read just now; trying again')
    }
    this.#unavailable = reason
    if (this.#isReading) this.#say(reason)
  }

  /** The log as the look at the seam asks it: again and again, until it can say. */
  #seamReader(): SeamReader {
    const { log, environment } = this.#options
    const { topic, topicId, partition } = this.#position
    const { signal } = this.#draining
    return {
      offsets: () =>
        this.#available(async () => (await log.offsets(topicId, { partitions: [partition] }))[0]),
      at: async (offset) => {
        const request = { topic, topicId, partition, offset, maxRecords: 1 }
        const seen = await this.#available(async () => (await log.read([request], { signal }))[0])
        return seen as ReadResult
      },
      older: (range) => checkpointsOfReading(environment.pool, this.#position, range),
    }
  }

  async #halt(finding: Finding): Promise<PartitionEnd> {
    const { core, environment } = this.#options
    const { processId, pool } = environment
    const { epoch } = this.#position
    await haltPosition({ core, pool }, this.#position, finding, { processId, epoch })
    return 'halted'
  }

  #log(level: 'info' | 'warn', fields: LogFields, message: string): void {
    const { application, topic, partition } = this.#position
    this.#options.core.logger[level]({ application, topic, partition, ...fields }, message)
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
