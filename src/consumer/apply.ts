import { TimeoutReason } from '../core/abort.ts'
import { failpoint } from '../core/failpoint.ts'
import { isThenable } from '../core/thenable.ts'
import { within } from '../core/within.ts'
import type { NewDeadLetter } from '../dead-letter/dead-letter.ts'
import { describeError, type ErrorDescription } from '../errors/describe.ts'
import type { Transaction } from '../postgres/transaction.ts'
import type { BatchScope } from './batch-environment.ts'
import { factsOf, traceOf, type EventFacts } from './event-facts.ts'
import { isSkip, type PreparedRecord } from './handler.ts'
import { DUPLICATE } from './seen-events.ts'
import type { BoundHandler, Item, Step } from './step.ts'
import { takeIn } from './take-in.ts'

/** A record that failed for good for a handler; `*`: it could not be read, so for all of them. */
export interface FailedRecord {
  readonly item: Item
  readonly handler: string
  readonly stage: NewDeadLetter['stage']
  readonly error: unknown
  readonly attempts: number
  readonly event: EventFacts
}

/** What became of records. */
export interface Applied {
  readonly records: number
  readonly done: number
  readonly jobs: number
  readonly filtered: number
  readonly filteredBy: Readonly<Record<string, number>>
  /** In the order of the records. */
  readonly failed: readonly FailedRecord[]
  /** What other programs had set aside. */
  readonly taken: readonly NewDeadLetter[]
}

/**
 * Gives every record of `items` its disposition, in the transaction `tx`: handlers one after the other in offset order,
 * then what is done set-wise. What failed before is given back; where it goes, and the position, are the caller's.
 *
 * `onStep` is told whose function is being called, and `undefined` when nobody's is: so the caller knows whose error it was.
 * `duplicates` are not handled: see `claimEvents`.
 */
export async function applyItems(
  { env, signal, reservations }: BatchScope,
  tx: Transaction,
  items: readonly Item[],
  onStep: (step: Step | undefined) => void,
  duplicates: ReadonlySet<Step>,
): Promise<Applied> {
  const { core, options, pace } = env
  const failed: FailedRecord[] = []
  const taken: NewDeadLetter[] = []
  const filteredBy = new Map<string, number>()
  const batched = new Map<BoundHandler, PreparedRecord<Step['event'], unknown>[]>()
  const tally = { done: 0, jobs: 0 }
  let applied = false
  // One limit for all of it: a slow batch is halved until it fits, so that no owner holds its locks for long.
  const beganMs = core.clock.monotonicMs()
  const tookMs = (): number => core.clock.monotonicMs() - beganMs
  const left = (): number => options.transactionTimeoutMs - tookMs()
  const filter = (reason: string): void => {
    filteredBy.set(reason, (filteredBy.get(reason) ?? 0) + 1)
  }

  for (const item of items) {
    const { filtered, rejected } = item
    if (item.taken !== undefined) taken.push(takeIn(env, item, item.taken))
    if (filtered !== undefined) filter(filtered)
    if (rejected !== undefined) {
      failed.push({ item, handler: '*', ...rejected, attempts: 1, event: factsOf(rejected) })
    }
    for (const step of item.steps) {
      const { handler, event, context, prepared } = step
      const { run } = handler
      if (duplicates.has(step)) {
        filter(DUPLICATE)
      } else if (step.failure !== undefined) {
        const attempts = context.attempt
        failed.push({ item, handler: handler.name, ...step.failure, attempts, event })
      } else if (step.skipped !== undefined) {
        filter(step.skipped.reason)
      } else if (run.applyBatch !== undefined) {
        const group = batched.get(handler) ?? []
        batched.set(handler, group)
        group.push({ event, prepared, context })
        tally[run.disposition] += 1
      } else {
        if (left() <= 0) throw new TimeoutReason(options.transactionTimeoutMs)
        applied = true
        onStep(step)
        const result = run.apply?.(event, prepared, context, tx)
        const value = isThenable(result) ? await context.within(result, left()) : result
        onStep(undefined)
        if (isSkip(value)) filter(value.reason)
        else tally[run.disposition] += 1
      }
    }
  }
  pace?.applied(items.length, tookMs())
  await failpoint('batch:applied')
  for (const [handler, group] of batched) {
    const result = handler.run.applyBatch?.(group, tx, reservations?.of(handler))
    const timeoutMs = Math.max(0, left())
    if (isThenable(result)) await within(result, { clock: core.clock, timeoutMs, signal })
  }
  await tx.settle()
  // A deferred constraint of the user's tables would else speak only at COMMIT.
  if (applied) await tx.query('/* millrace:constraints */ set constraints all immediate')
  return {
    records: items.length,
    ...tally,
    filtered: [...filteredBy.values()].reduce((sum, n) => sum + n, 0),
    filteredBy: Object.fromEntries(filteredBy),
    failed,
    taken,
  }
}

/**
 * Why a record failed, as it is kept. Where our own reading refused it, the stack would only lead through millrace: it is
 * half of the bytes of such a dead letter, and left out unless somebody else's error is behind it.
 */
export function describeFailure({
  stage,
  error,
}: Pick<FailedRecord, 'stage' | 'error'>): ErrorDescription {
  const isReading = stage === 'decode' || stage === 'validate'
  return describeError(error, { stack: !isReading || (error as Error).cause !== undefined })
}

/** The dead letter of a record that failed. */
export function deadLetterOf(
  { application, codeVersion, log }: Pick<BatchScope['env'], 'application' | 'codeVersion' | 'log'>,
  { item: { record, generation }, handler, stage, error, attempts, event }: FailedRecord,
): NewDeadLetter {
  return {
    application,
    handler,
    stage,
    origin: { ...record, generation },
    cluster: log.cluster ?? log.kind,
    record,
    event,
    job: null,
    error: describeFailure({ stage, error }),
    attempts,
    codeVersion,
    trace: traceOf(event),
  }
}
