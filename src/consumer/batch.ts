import { TimeoutReason, throwIfAborted } from '../core/abort.ts'
import { failpoint } from '../core/failpoint.ts'
import { METRICS, type CountChange } from '../counts/counts.ts'
import { thrownError } from '../errors/describe.ts'
import type { ReadResult } from '../log/port.ts'
import { transaction } from '../postgres/transaction.ts'
import { applyItems } from './apply.ts'
import { waitBeforeRetry, type BatchEnvironment, type BatchScope } from './batch-environment.ts'
import { decide } from './decide.ts'
import { toItem } from './items.ts'
import {
  advancePosition,
  batchCommitted,
  type BatchDisposition,
  type OwnedPosition,
} from './positions.ts'
import { prepareItems } from './prepare.ts'
import type { Item, Step } from './step.ts'

/**
 * Takes the records of one read of a partition to their dispositions.
 *
 * decode → prepare (over keys at once, outside any transaction) → one transaction: apply, jobs, dead letters, and last
 * of all the compare-and-set of the position. When the transaction fails, it is known in most cases which record it was:
 * what stands before it is committed, it alone is tried again or set aside, then the rest goes on; a batch with k bad
 * records costs about two executions of each record. When it is not known (a set-wise statement, a deferred constraint),
 * it is searched for by halving: about log2(n) + 2 further executions for one bad record.
 */
export class Batch {
  readonly #scope: BatchScope
  readonly #items: readonly Item[]
  /** Where the position is once the record of that index has its disposition. Holes belong to what is before them. */
  readonly #ends: readonly bigint[]
  #next: bigint
  #jobs = 0
  /** The step a user's function is working on inside the transaction, to know whose error it was. */
  #culprit: Step | undefined

  private constructor(scope: BatchScope, items: readonly Item[], end: bigint) {
    this.#scope = scope
    this.#items = items
    this.#ends = items.map((_, index) => items[index + 1]?.record.offset ?? end)
    this.#next = scope.position.next
  }

  /**
   * Resolves to the new position, and how many records became jobs, when every record of `read` has its disposition and
   * the position has moved past it.
   * @throws E_CONSUMER_NOT_OWNER when somebody else owns the partition; the signal's reason when it is aborted.
   */
  static async run(
    env: BatchEnvironment,
    position: OwnedPosition,
    read: ReadResult,
    signal: AbortSignal,
  ): Promise<{ readonly next: bigint; readonly jobs: number }> {
    const scope = { env, position, signal }
    const items: Item[] = []
    for (const record of read.records) items.push(await toItem(scope, record))
    await prepareItems(scope, items)
    const batch = new Batch(scope, items, read.nextOffset)
    if (items.length === 0) await batch.#commit(0, 0, read.nextOffset)
    else await batch.#settle(0, items.length)
    return { next: batch.#next, jobs: batch.#jobs }
  }

  /** Commits the records from index `from` up to, not including, `to`; on failure finds whose it is. */
  async #settle(from: number, to: number): Promise<void> {
    const { env, signal } = this.#scope
    let start = from
    // How many to commit next; and, while somebody unknown among them fails, where the range ends that he must be in.
    let size = to - from
    let suspectsEnd: number | undefined
    let lastCulprit: number | undefined
    // Where to stop next, whatever the size: behind a record that is set aside.
    let stopAt: number | undefined
    let tries = 1
    const setAside = (at: number): void => {
      // Where failures are close together, the next is expected as close.
      size = lastCulprit === undefined ? to - start : Math.max(1, 2 * (at - lastCulprit))
      lastCulprit = at
      suspectsEnd = undefined
      // What stands before him went well, and is not put at risk again together with what follows.
      stopAt = at > start ? at + 1 : undefined
    }
    while (start < to) {
      throwIfAborted(signal)
      await env.whenAlive(signal)
      const end = stopAt ?? Math.min(to, start + Math.max(1, size))
      try {
        await this.#commit(start, end, this.#ends[end - 1] as bigint)
        start = end
        tries = 1
        if (stopAt !== undefined) stopAt = undefined
        else if (suspectsEnd !== undefined && start < suspectsEnd) {
          size = Math.ceil((suspectsEnd - start) / 2)
        } else {
          suspectsEnd = undefined
          size *= 2
        }
        continue
      } catch (thrown) {
        throwIfAborted(signal)
        const error = thrownError(thrown)
        const culprits = this.#culprits(error, start, end)
        const attempt = culprits?.[0]?.context.attempt ?? tries
        const decision = decide(error, attempt, env.options.maxAttempts)
        if (decision === 'give-up') throw error
        if (decision === 'wait' || (culprits === undefined && end - start === 1)) {
          // The database's fault, or our own writing failed: nobody's attempt. The records stay where they are.
          await waitBeforeRetry(this.#scope, { attempt: tries, error, what: 'the database' })
          tries += 1
          continue
        }
        if (culprits === undefined) {
          suspectsEnd = end
          stopAt = undefined
          size = Math.ceil((end - start) / 2)
          continue
        }
        const at = this.#items.findIndex(({ steps }) => steps.includes(culprits[0] as Step))
        if (decision === 'dead-letter') {
          for (const step of culprits) step.failure = { stage: 'apply', error }
          setAside(at)
          continue
        }
        for (const step of culprits) step.context.attempt += 1
        if (at > start) await this.#settle(start, at)
        start = at
        const what = String(culprits[0]?.handler.name)
        await waitBeforeRetry(this.#scope, { attempt, error, what })
      }
    }
  }

  /** Whose error it was: the step that was being applied, or all of a lone record's, or unknown. */
  #culprits(error: Error, from: number, to: number): readonly Step[] | undefined {
    // "Current transaction is aborted": somebody before swallowed the error that did it.
    const swallowed = (error as { code?: string }).code === '25P02'
    // Out of time: whoever was on when the limit struck need not be the slow one.
    const outOfTime = error instanceof TimeoutReason && to - from > 1
    if (this.#culprit !== undefined && !swallowed && !outOfTime) return [this.#culprit]
    if (to - from > 1) return undefined
    const live = (this.#items[from] as Item).steps.filter(isLive)
    const batched = live.filter((step) => step.handler.run.applyBatch !== undefined)
    const all = batched.length > 0 && !swallowed ? batched : live
    return all.length === 0 ? undefined : all
  }

  async #commit(from: number, to: number, end: bigint): Promise<void> {
    const { env } = this.#scope
    const { core, pool, options, processId, application } = env
    const first = this.#next
    const position = { ...this.#scope.position, next: first }
    this.#culprit = undefined
    const jobs = await transaction(
      pool,
      core,
      async (tx) => {
        const tally = await applyItems(this.#scope, tx, this.#items.slice(from, to), (step) => {
          this.#culprit = step
        })
        const disposition: BatchDisposition = { first, next: end, ...tally }
        await failpoint('batch:before-position')
        const counts = countsOf(application, disposition)
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
    this.#next = end
    this.#jobs += jobs
    await failpoint('batch:after-commit')
  }
}

function isLive(step: Step): boolean {
  return step.failure === undefined && step.skipped === undefined
}

function countsOf(label: string, batch: BatchDisposition): CountChange[] {
  return [
    { metric: METRICS.recordsDone, label, delta: batch.done },
    { metric: METRICS.recordsJobs, label, delta: batch.jobs },
    { metric: METRICS.recordsFiltered, label, delta: batch.filtered },
    { metric: METRICS.recordsDeadLettered, label, delta: batch.deadLettered },
    { metric: METRICS.deadLetters, label, delta: batch.deadLettered },
  ]
}
