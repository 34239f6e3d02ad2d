import { TimeoutReason, throwIfAborted } from '../core/abort.ts'
import { thrownError } from '../errors/describe.ts'
import type { Transaction } from '../postgres/transaction.ts'
import { applyItems, type Applied } from './apply.ts'
import { waitBeforeRetry, type BatchScope } from './batch-environment.ts'
import { decide } from './decide.ts'
import { claimEvents } from './seen-events.ts'
import type { Item, Step } from './step.ts'

/** Some items, one after the other, out of all that are being settled. */
export interface ItemRange {
  readonly from: number
  /** The first one that is not among them. */
  readonly to: number
}

/**
 * Tries to commit the items of a range: opens a transaction, calls `apply` in it (for all of them, or for those that it
 * concerns), writes what is its own, and commits.
 */
export type CommitRange = (
  range: ItemRange,
  apply: (tx: Transaction, items: readonly Item[]) => Promise<Applied>,
) => Promise<void>

/**
 * Takes the prepared records of a range to their dispositions, by transactions of `commit`. When one fails, it is known in
 * most cases which record it was: what stands before it is committed, it alone is tried again or set aside, then the rest
 * goes on; a batch with k bad records costs about two executions of each record. When it is not known (a set-wise
 * statement, a deferred constraint), it is searched for by halving: about log2(n) + 2 further executions for one bad
 * record.
 * @throws what `decide` gives up on; the signal's reason when it is aborted.
 */
export async function settleItems(
  scope: BatchScope,
  items: readonly Item[],
  { from, to }: ItemRange,
  commit: CommitRange,
): Promise<void> {
  await new Settlement(scope, items, commit).settle(from, to)
}

class Settlement {
  readonly #scope: BatchScope
  readonly #items: readonly Item[]
  readonly #commit: CommitRange
  /** The step a user's function is working on inside the transaction, to know whose error it was. */
  #culprit: Step | undefined
  /** Whether the handlers are at work, or have thrown. */
  #applying = false
  /** Whether events are being claimed, or could not be. */
  #claiming = false

  constructor(scope: BatchScope, items: readonly Item[], commit: CommitRange) {
    this.#scope = scope
    this.#items = items
    this.#commit = commit
  }

  /** Commits the records from index `from` up to, not including, `to`; on failure finds whose it is. */
  async settle(from: number, to: number): Promise<void> {
    const { env, signal } = this.#scope
    let start = from
    // How many to commit next; and, while somebody unknown among them fails, where the range ends that he must be in.
    let size = to - from
    let suspectsEnd: number | undefined
    let lastCulprit: number | undefined
    // Where to stop next, whatever the size: behind a record that is set aside.
    let stopAt: number | undefined
    let tries = 1
    const setAside = (at: number, next: number | undefined): void => {
      // Where failures are close together, the next is expected as close.
      size = lastCulprit === undefined ? to - start : Math.max(1, 2 * (at - lastCulprit))
      lastCulprit = at
      suspectsEnd = undefined
      // What stands before him went well, and is not put at risk again together with what follows; unless that was tried.
      stopAt = next === undefined ? (at > start ? at + 1 : undefined) : Math.min(next, to)
    }
    while (start < to) {
      throwIfAborted(signal)
      await env.whenAlive(signal)
      const end = stopAt ?? Math.min(to, start + Math.max(1, size))
      try {
        await this.#try({ from: start, to: end })
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
        // At least as slow as that.
        if (error instanceof TimeoutReason)
          env.pace?.applied(end - start, env.options.transactionTimeoutMs)
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
          setAside(at, await env.brake?.lookAgain(this.#scope, this.#items, { from: start, at }))
          continue
        }
        for (const step of culprits) step.context.attempt += 1
        if (at > start) await this.settle(start, at)
        start = at
        const what = String(culprits[0]?.handler.name)
        await waitBeforeRetry(this.#scope, { attempt, error, what })
      }
    }
  }

  /** Whose error it was: the step that was being applied, or all of a lone record's, or unknown. */
  #culprits(error: Error, from: number, to: number): readonly Step[] | undefined {
    // Our own statement failed, before any handler.
    if (this.#claiming) return undefined
    // "Current transaction is aborted": somebody before swallowed the error that did it.
    const swallowed = (error as { code?: string }).code === '25P02'
    // Out of time: whoever was on when the limit struck need not be the slow one.
    const outOfTime = error instanceof TimeoutReason && to - from > 1
    // One of our own statements was cancelled, behind all handlers: somebody holds a lock.
    if ((error as { code?: string }).code === '57014' && !this.#applying) return undefined
    if (this.#culprit !== undefined && !swallowed && !outOfTime) return [this.#culprit]
    if (to - from > 1) return undefined
    const live = (this.#items[from] as Item).steps.filter(isLive)
    const batched = live.filter((step) => step.handler.run.applyBatch !== undefined)
    const all = batched.length > 0 && !swallowed ? batched : live
    return all.length === 0 ? undefined : all
  }

  async #try(range: ItemRange): Promise<void> {
    this.#culprit = undefined
    this.#applying = false
    this.#claiming = false
    await this.#commit(range, async (tx, items) => {
      this.#claiming = true
      const duplicates = await claimEvents(this.#scope, tx, items)
      this.#claiming = false
      this.#applying = true
      const onStep = (step: Step | undefined): void => {
        this.#culprit = step
      }
      const applied = await applyItems(this.#scope, tx, items, onStep, duplicates)
      this.#applying = false
      return applied
    })
  }
}

function isLive(step: Step): boolean {
  return step.failure === undefined && step.skipped === undefined
}
