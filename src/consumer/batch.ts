import { failpoint } from '../core/failpoint.ts'
import { METRICS, type CountChange } from '../counts/counts.ts'
import { writeDeadLetters } from '../dead-letter/dead-letter.ts'
import type { ReadResult } from '../log/port.ts'
import { transaction } from '../postgres/transaction.ts'
import { deadLetterOf, type Applied } from './apply.ts'
import { untilAnswered, type BatchEnvironment, type BatchScope } from './batch-environment.ts'
import type { Checkpoint } from './checkpoints.ts'
import { toItem } from './items.ts'
import { FloodStopReason } from './partition-brake.ts'
import {
  advancePosition,
  batchCommitted,
  type BatchDisposition,
  type OwnedPosition,
} from './positions.ts'
import { prepareItems } from './prepare.ts'
import { hashOf } from './record-hash.ts'
import { skipSeen } from './seen-events.ts'
import { BatchReservations } from './batch-reservations.ts'
import { settleItems, type CommitRange, type ItemRange } from './settle.ts'
import type { Item } from './step.ts'

const NOTHING: Applied = {
  records: 0,
  done: 0,
  jobs: 0,
  filtered: 0,
  filteredBy: {},
  failed: [],
  taken: [],
}

/**
 * Takes the records of one read of a partition to their dispositions.
 *
 * decode → prepare (over keys at once, outside any transaction) → one transaction: apply, jobs, dead letters, and last
 * of all the compare-and-set of the position. What is done when it fails is told by `settleItems`. Where handlers ask for
 * it, events that they have had already are left out before `prepare`, and once more, for good, in the transaction.
 */
export class Batch {
  readonly #scope: BatchScope
  readonly #position: OwnedPosition
  readonly #items: readonly Item[]
  /** Where the position is once the record of that index has its disposition. Holes belong to what is before them. */
  readonly #ends: readonly bigint[]
  #next: bigint
  #last: Checkpoint | undefined
  #jobs = 0

  private constructor(
    scope: BatchScope,
    position: OwnedPosition,
    items: readonly Item[],
    end: bigint,
  ) {
    this.#scope = scope
    this.#position = position
    this.#items = items
    this.#ends = items.map((_, index) => items[index + 1]?.record.offset ?? end)
    this.#next = position.next
  }

  /**
   * Resolves to the new position, the last record below it, if there was one, and how many records became jobs, when every
   * record of `read` has its disposition and the position has moved past it.
   * @throws E_CONSUMER_NOT_OWNER when somebody else owns the partition; the signal's reason when it is aborted;
   * FloodStopReason before the first dead letter, when the partition is to be stopped.
   */
  static async run(
    env: BatchEnvironment,
    position: OwnedPosition,
    read: ReadResult,
    signal: AbortSignal,
  ): Promise<{
    readonly next: bigint
    readonly last: Checkpoint | undefined
    readonly jobs: number
  }> {
    const { topic, partition, generation } = position
    const scope = { env, about: { topic, partition }, signal }
    const items: Item[] = []
    for (const record of read.records) {
      const item = toItem(scope, record, generation)
      items.push(item instanceof Promise ? await item : item)
    }
    await skipSeen(scope, items)
    await prepareItems(scope, items)
    using reservations = new BatchReservations()
    const batch = new Batch({ ...scope, reservations }, position, items, read.nextOffset)
    try {
      await env.brake?.look(scope, items)
      await reservations.make(items, signal)
      if (items.length === 0) await batch.#passOver(read.nextOffset)
      else await batch.#settle({ from: 0, to: items.length })
    } catch (error) {
      if (error instanceof FloodStopReason) await batch.#settleUpTo(error.first)
      throw error
    }
    return { next: batch.#next, last: batch.#last, jobs: batch.#jobs }
  }

  /** Moves the position over offsets without a record: of aborted transactions, or compacted. */
  async #passOver(to: bigint): Promise<void> {
    const scope = this.#scope
    await untilAnswered(scope, async () => {
      await scope.env.whenAlive(scope.signal)
      await this.#commit([], to, () => Promise.resolve(NOTHING))
    })
  }

  /** Commits what stands before the record of that index, and is not committed yet. */
  async #settleUpTo(to: number): Promise<void> {
    const from = this.#items.findIndex(({ record }) => record.offset >= this.#next)
    if (from < to) await this.#settle({ from, to })
  }

  async #settle(all: ItemRange): Promise<void> {
    const items = this.#items
    const commit: CommitRange = async ({ from, to }, apply) => {
      try {
        await this.#commit(items.slice(from, to), this.#ends[to - 1] as bigint, apply)
      } catch (error) {
        // It may be long until one goes through.
        this.#scope.reservations?.[Symbol.dispose]()
        throw error
      }
    }
    await settleItems(this.#scope, items, all, commit)
  }

  async #commit(
    items: readonly Item[],
    end: bigint,
    apply: Parameters<CommitRange>[1],
  ): Promise<void> {
    const { env } = this.#scope
    const { core, pool, options, processId, application } = env
    const first = this.#next
    const position = { ...this.#position, next: first }
    const record = items.at(-1)?.record
    const last = record && { offset: record.offset, hash: hashOf(record) }
    const { clock } = core
    const beganMs = clock.monotonicMs()
    let applyMs = 0
    const jobs = await transaction(
      pool,
      core,
      async (tx) => {
        const applyingMs = clock.monotonicMs()
        const { failed, taken, ...tally } = await apply(tx, items)
        applyMs = clock.monotonicMs() - applyingMs
        const letters = [...failed.map((one) => deadLetterOf(env, one)), ...taken]
        const written = await writeDeadLetters(tx, letters)
        const disposition: BatchDisposition = {
          first,
          next: end,
          ...tally,
          deadLettered: letters.length,
          lastOffset: last?.offset ?? null,
          lastHash: last?.hash ?? null,
        }
        await failpoint('batch:before-position')
        const counts = countsOf(application, disposition, written)
        await advancePosition(tx, processId, position, disposition, counts)
        await failpoint('batch:before-commit')
        return tally.jobs
      },
      {
        // Our own limit comes first and knows whose time it was; the server's is for when we are not there to keep it.
        timeoutMs: Math.ceil(options.transactionTimeoutMs * 1.25),
        committed: (db) => batchCommitted(db, processId, position, first),
      },
    )
    env.pace?.committed(clock.monotonicMs() - beganMs - applyMs)
    this.#next = end
    this.#last = last ?? this.#last
    this.#jobs += jobs
    await failpoint('batch:after-commit')
  }
}

function countsOf(label: string, batch: BatchDisposition, deadLetters: number): CountChange[] {
  return [
    { metric: METRICS.recordsDone, label, delta: batch.done },
    { metric: METRICS.recordsJobs, label, delta: batch.jobs },
    { metric: METRICS.recordsFiltered, label, delta: batch.filtered },
    { metric: METRICS.recordsDeadLettered, label, delta: batch.deadLettered },
    { metric: METRICS.deadLetters, label, delta: deadLetters },
  ]
}
