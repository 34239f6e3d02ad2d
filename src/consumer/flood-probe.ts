import { TimeoutReason, throwIfAborted } from '../core/abort.ts'
import { isThenable } from '../core/thenable.ts'
import { within } from '../core/within.ts'
import { thrownError } from '../errors/describe.ts'
import { rolledBack } from '../postgres/rolled-back.ts'
import type { Transaction } from '../postgres/transaction.ts'
import type { BatchScope } from './batch-environment.ts'
import { decide } from './decide.ts'
import { claimEvents } from './seen-events.ts'
import type { Item, Step } from './step.ts'

/** A step that failed while it was only tried. */
export interface ProbedFailure {
  readonly step: Step
  readonly stage: 'apply'
  readonly error: Error
}

/** Options of {@link probe}. */
export interface ProbeOptions {
  /** Index of the first record. */
  readonly from: number
  /** Whether deferred constraints speak after every step: when one of them was what failed. */
  readonly constraints: boolean
  /** Told of every failure, in the order of the records. */
  readonly onFailure: (index: number, failure: ProbedFailure) => void
}

/**
 * Tries the records from index `from` on, in a transaction that is rolled back, each step behind a savepoint so that one
 * that fails does not end it. Here and only here savepoints are worth their two round trips
 * per record: it is asked for when a record has failed for good, and it may spare many executions more.
 *
 * It only says what is to be expected. Nothing becomes a dead letter because of it: set-wise handlers are called record by
 * record, and with what was rolled back missing, a later record may fail that would not.
 *
 * Resolves to the index up to which it came before the time of one batch was over.
 */
export async function probe(
  scope: BatchScope,
  items: readonly Item[],
  { from, constraints, onFailure }: ProbeOptions,
): Promise<number> {
  const { core, pool, options } = scope.env
  const timeoutMs = options.transactionTimeoutMs
  const run = async (tx: Transaction): Promise<number> => {
    const duplicates = await claimEvents(scope, tx, items.slice(from))
    // Behind the claim, which may wait for another partition: that is no handler's time.
    const deadline = core.clock.monotonicMs() + timeoutMs
    const left = (): number => deadline - core.clock.monotonicMs()
    for (let end = from; end < items.length; end += 1) {
      for (const step of (items[end] as Item).steps) {
        if (step.failure !== undefined || step.skipped !== undefined) continue
        if (duplicates.has(step)) continue
        throwIfAborted(scope.signal)
        if (left() <= 0) return end
        const error = await tryStep(scope, tx, step, { left, constraints })
        // Whoever was on when the time ran out need not be the slow one.
        if (error instanceof TimeoutReason) return end
        if (error !== undefined) onFailure(end, { step, stage: 'apply', error })
      }
    }
    return items.length
  }
  return rolledBack(pool, core, run, { timeoutMs: Math.ceil(timeoutMs * 1.25) })
}

/** What a step fails with, if it does. An error that is the database's own fault is thrown. */
async function tryStep(
  { env, signal }: BatchScope,
  tx: Transaction,
  step: Step,
  { left, constraints }: { readonly left: () => number; readonly constraints: boolean },
): Promise<Error | undefined> {
  const { handler, event, prepared, context } = step
  const { run } = handler
  await tx.query('/* millrace:probe-begin */ savepoint millrace_probe')
  try {
    if (run.applyBatch !== undefined) {
      const result = run.applyBatch([{ event, prepared, context }], tx)
      const { clock } = env.core
      if (isThenable(result)) await within(result, { clock, timeoutMs: left(), signal })
    } else {
      const result = run.apply?.(event, prepared, context, tx)
      if (isThenable(result)) await context.within(result, left())
    }
    await tx.settle()
    if (constraints) {
      await tx.query(
        '/* millrace:probe-constraints */ set constraints all immediate; set constraints all deferred',
      )
    }
    await tx.query('/* millrace:probe-end */ release savepoint millrace_probe')
    return undefined
  } catch (thrown) {
    throwIfAborted(signal)
    const error = thrownError(thrown)
    const decision = decide(error, 1, Number.MAX_SAFE_INTEGER)
    if (decision === 'wait' || decision === 'give-up') throw error
    if (error instanceof TimeoutReason) return error
    // What it had left to be written is not the next one's to write.
    await tx.settle().catch(() => {})
    await tx.query('/* millrace:probe-undo */ rollback to savepoint millrace_probe')
    return error
  }
}
