import { backoffMs } from '../core/backoff.ts'
import type { Core } from '../core/core.ts'
import { within } from '../core/within.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import { unknownTopic } from '../log/log-errors.ts'
import type { NewRecord } from '../log/port.ts'
import type { Cluster } from './cluster.ts'
import type { Compression } from './codecs.ts'
import type { ProducedBatch } from './produce-api.ts'
import type { ProducerIds } from './producer-ids.ts'
import type { ProduceSender } from './produce-sender.ts'
import { errorName, isTransient, KAFKA_ERROR } from './protocol.ts'
import { writeBatch, type BatchSequence } from './record-batch-writer.ts'

/** One record on its way. */
export interface Entry {
  readonly record: NewRecord
  readonly size: number
  /** When it is given up, in milliseconds of the clock that only grows. */
  readonly deadline: number
  /** Whether the append that it belongs to has failed already, so that it need not be sent. */
  readonly isMoot: () => boolean
  readonly written: (offset: bigint) => void
  /** It was not written. */
  readonly refused: (error: MillraceError) => void
  /** Perhaps it was. */
  readonly unknown: (error: MillraceError) => void
}

/** Options of {@link PartitionProducer}. */
export interface PartitionProducerOptions {
  readonly core: Core
  readonly cluster: Cluster
  readonly ids: ProducerIds
  readonly sender: ProduceSender
  readonly compression: Compression
  /** Most bytes of a batch before compression, but for a single record that is larger. */
  readonly maxBatchBytes: number
  readonly signal: AbortSignal
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

const MAX_EPOCH = 32_767
/** Transient answers that are given before anything is written. */
const NOT_WRITTEN: ReadonlySet<number> = new Set([
  KAFKA_ERROR.corruptMessage,
  KAFKA_ERROR.unknownTopicOrPartition,
  KAFKA_ERROR.notEnoughReplicas,
])
const BACKOFF = { baseMs: 50, maxMs: 2_000 }

/**
 * Writes the records of one partition in their order, each once: one batch is under way at a time, and it is sent again
 * byte for byte, under the same number, until the leader has answered, so that the leader knows it when it has it.
 *
 * A batch that is given up although it may have been written ends the epoch: the next one is written in a greater epoch,
 * and a copy of the old one that is still on its way somewhere is refused when it comes after. So the order holds even then.
 */
export class PartitionProducer {
  readonly #options: PartitionProducerOptions
  readonly #queue: Entry[] = []
  #identity: BatchSequence | undefined
  #isRunning = false

  constructor(options: PartitionProducerOptions) {
    this.#options = options
  }

  push(entries: readonly Entry[]): void {
    for (const entry of entries) this.#queue.push(entry)
    if (!this.#isRunning) void this.#run()
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    // Whatever else is appended in this turn of the event loop goes with it.
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (this.#queue.length > 0) await this.#deliver(this.#take())
    this.#isRunning = false
  }

  #take(): Entry[] {
    const { maxBatchBytes } = this.#options
    const batch: Entry[] = []
    let bytes = 0
    let taken = 0
    for (const entry of this.#queue) {
      if (batch.length > 0 && bytes + entry.size > maxBatchBytes) break
      taken += 1
      if (entry.isMoot()) {
        entry.refused(unavailable('what was appended before it was not written'))
        continue
      }
      batch.push(entry)
      bytes += entry.size
    }
    this.#queue.splice(0, taken)
    return batch
  }

  /** Takes a batch to its outcome. Never rejects. */
  async #deliver(batch: readonly Entry[]): Promise<void> {
    const { core, topic, signal } = this.#options
    const deadline = batch[0]?.deadline
    if (deadline === undefined) return
    const writtenAt = core.clock.now().getTime()
    const state: Delivery = { batch, writtenAt, deadline, bytes: undefined, maybeWritten: false }
    let reason = 'there was no time left'
    for (let attempt = 1; ; attempt += 1) {
      if (core.clock.monotonicMs() >= deadline || signal.aborted) {
        this.#giveUp(state, signal.aborted ? 'the log was closed' : reason)
        return
      }
      try {
        const produced = await this.#attempt(state)
        const next = this.#answer(produced, state)
        if (next === 'done') return
        if (next === 'split') {
          const half = Math.ceil(batch.length / 2)
          await this.#deliver(batch.slice(0, half))
          await this.#deliver(batch.slice(half))
          return
        }
        if (next === 'renewed') continue
        reason = `its leader says ${errorName(produced.error)}`
      } catch (error) {
        // Ours say that nothing was sent. Anything else leaves open whether it arrived.
        state.maybeWritten ||= !isMillraceError(error)
        reason = (error as Error).message
      }
      if (await this.#isGone(attempt, deadline)) {
        this.#fail(state, unknownTopic([topic]))
        return
      }
    }
  }

  async #attempt(state: Delivery): Promise<ProducedBatch> {
    const { core, cluster, ids, sender, compression, signal } = this.#options
    const { topic, topicId, partition } = this.#options
    this.#identity ??= { producerId: await ids.get(), epoch: 0, sequence: 0 }
    const leader = cluster.leader(topicId, partition)
    if (!('broker' in leader)) {
      throw unavailable('unavailable' in leader ? leader.unavailable : 'its leader is not known')
    }
    const records = state.batch.map(({ record }) => record)
    state.bytes ??= writeBatch(records, state.writtenAt, compression, this.#identity)
    const sending = { isSent: false, isGivenUp: false }
    const sent = sender.send(leader.broker, { topic, partition, bytes: state.bytes }, sending)
    const timeoutMs = Math.max(0, state.deadline - core.clock.monotonicMs())
    try {
      return await within(sent, { clock: core.clock, timeoutMs, signal })
    } catch (error) {
      sending.isGivenUp = true
      if (sending.isSent) throw error
      const { host, port } = leader.broker
      throw unavailable(`no connection to broker ${host}:${port} in time`, error)
    }
  }

  /** What follows from the leader's answer. */
  #answer(
    { error, message, baseOffset }: ProducedBatch,
    state: Delivery,
  ): 'done' | 'split' | 'renewed' | 'again' {
    const { batch } = state
    const { topic } = this.#options
    const identity = this.#identity as BatchSequence
    switch (error) {
      case KAFKA_ERROR.none:
        this.#identity = { ...identity, sequence: (identity.sequence + batch.length) % 2 ** 31 }
        for (const [index, entry] of batch.entries()) entry.written(baseOffset + BigInt(index))
        return 'done'
      case KAFKA_ERROR.messageTooLarge:
      case KAFKA_ERROR.recordListTooLarge:
        if (batch.length > 1) return 'split'
        this.#fail(state, tooLarge(topic, batch[0]?.size ?? 0))
        return 'done'
      case KAFKA_ERROR.outOfOrderSequence:
      case KAFKA_ERROR.unknownProducerId:
      case KAFKA_ERROR.invalidProducerEpoch:
        // The leader no longer knows what it had of us, so it has not taken this batch now. What became of an earlier
        // sending of it, it cannot say.
        if (!state.maybeWritten) {
          this.#renew(error === KAFKA_ERROR.invalidProducerEpoch)
          state.bytes = undefined
          return 'renewed'
        }
        break
      case KAFKA_ERROR.duplicateSequence:
        // Written before, and so long ago that the leader cannot say where.
        state.maybeWritten = true
        break
      default:
        if (isTransient(error)) {
          state.maybeWritten ||= !NOT_WRITTEN.has(error)
          return 'again'
        }
    }
    this.#fail(state, refusal(topic, error, message))
    return 'done'
  }

  /** Whether the topic or the partition does not exist any more; looked at after a while that grows. */
  async #isGone(attempt: number, deadline: number): Promise<boolean> {
    const { core, cluster, topicId, partition, signal } = this.#options
    const left = (): number => Math.max(0, deadline - core.clock.monotonicMs())
    try {
      const ms = Math.min(left(), backoffMs(attempt, core.random, BACKOFF))
      await core.clock.sleep(ms, { signal })
      const look = cluster.topic({ id: topicId })
      const view = await within(look, { clock: core.clock, timeoutMs: left(), signal })
      return view?.partitions[partition] === undefined
    } catch {
      // Nobody can say; the next attempt tells, or the deadline.
      return false
    }
  }

  #giveUp(state: Delivery, reason: string): void {
    const { topic, partition } = this.#options
    const why = reason.replace(/^not written: /, '')
    this.#fail(state, unavailable(`partition ${partition} of topic '${topic}': ${why}`))
  }

  #fail(state: Delivery, error: MillraceError): void {
    for (const entry of state.batch) {
      if (state.maybeWritten) entry.unknown(error)
      else entry.refused(error)
    }
    if (state.maybeWritten) this.#renew(false)
  }

  /** Goes on in another epoch, in which sequences begin anew; with another producer id when epochs have run out. */
  #renew(spent: boolean): void {
    const identity = this.#identity
    if (identity === undefined) return
    const { producerId, epoch } = identity
    if (!spent && epoch < MAX_EPOCH) {
      this.#identity = { producerId, epoch: epoch + 1, sequence: 0 }
      return
    }
    this.#options.ids.spend(producerId)
    this.#identity = undefined
  }
}

/** A batch on its way. */
interface Delivery {
  readonly batch: readonly Entry[]
  /** The time of records that have none, in milliseconds since 1970. */
  readonly writtenAt: number
  readonly deadline: number
  bytes: Buffer | undefined
  /** Whether it was sent and nobody said that it was not taken. */
  maybeWritten: boolean
}

function unavailable(reason: string, cause?: unknown): MillraceError {
  return new MillraceError('E_LOG_UNAVAILABLE', `not written: ${reason}`, {
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  })
}

function refusal(topic: string, code: number, message: string | undefined): MillraceError {
  return new MillraceError(
    'E_LOG_REFUSED',
    `topic '${topic}' refuses records: ${errorName(code)}${message === undefined ? '' : ` (${message})`}`,
    { details: { topic, kafka: errorName(code) } },
  )
}

function tooLarge(topic: string, bytes: number): MillraceError {
  return new MillraceError(
    'E_EVENT_TOO_LARGE',
    `a record of about ${bytes} bytes is more than topic '${topic}' takes; its max.message.bytes says how much that is`,
    { details: { topic, bytes } },
  )
}
