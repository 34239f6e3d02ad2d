import { TimeoutReason } from '../core/abort.ts'
import { failpoint } from '../core/failpoint.ts'
import { isThenable } from '../core/thenable.ts'
import { within } from '../core/within.ts'
import { writeDeadLetters, type NewDeadLetter } from '../dead-letter/dead-letter.ts'
import { describeError } from '../errors/describe.ts'
import type { LogRecord } from '../log/port.ts'
import type { Transaction } from '../postgres/transaction.ts'
import type { BatchScope } from './batch-environment.ts'
import { isSkip, type PreparedRecord } from './handler.ts'
import type { BatchDisposition } from './positions.ts'
import { hashOf } from './record-hash.ts'
import type { BoundHandler, Item, Step } from './step.ts'

type EventFacts = NewDeadLetter['event'] & {
  readonly correlationId?: string
  readonly traceparent?: string | null
}

/**
 * Gives every record of `items` its disposition, in the transaction `tx`: handlers one after the other in offset order,
 * then what is done set-wise, then dead letters. The position is the caller's.
 *
 * `onStep` is told whose function is being called, and `undefined` when nobody's is: so the caller knows whose error it was.
 */
export async function applyItems(
  { env, position, signal }: BatchScope,
  tx: Transaction,
  items: readonly Item[],
  onStep: (step: Step | undefined) => void,
): Promise<Omit<BatchDisposition, 'first' | 'next'>> {
  const { core, options, application, codeVersion } = env
  const letters: NewDeadLetter[] = []
  const filteredBy = new Map<string, number>()
  const batched = new Map<BoundHandler, PreparedRecord<Step['event'], unknown>[]>()
  const tally = { done: 0, jobs: 0 }
  let applied = false
  // One limit for all of it: a slow batch is halved until it fits, so that no owner holds its locks for long.
  const deadline = core.clock.monotonicMs() + options.transactionTimeoutMs
  const left = (): number => deadline - core.clock.monotonicMs()
  const filter = (reason: string): void => {
    filteredBy.set(reason, (filteredBy.get(reason) ?? 0) + 1)
  }
  const setAside = (
    record: LogRecord,
    handler: string,
    failure: { readonly stage: NewDeadLetter['stage']; readonly error: unknown },
    attempts: number,
    event: EventFacts,
  ): void => {
    letters.push({
      application,
      handler,
      stage: failure.stage,
      origin: { ...record, generation: position.generation },
      record,
      event,
      job: null,
      error: describeError(failure.error),
      attempts,
      codeVersion,
      trace: {
        ...(event.correlationId === undefined ? {} : { correlationId: event.correlationId }),
        ...(event.id === undefined ? {} : { causationId: event.id }),
        ...(event.traceparent == null ? {} : { traceparent: event.traceparent }),
      },
    })
  }

  for (const { record, steps, filtered, rejected } of items) {
    if (filtered !== undefined) filter(filtered)
    if (rejected !== undefined) setAside(record, '*', rejected, 1, factsOf(rejected))
    for (const step of steps) {
      const { handler, event, context, prepared } = step
      const { run } = handler
      if (step.failure !== undefined) {
        setAside(record, handler.name, step.failure, context.attempt, event)
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
  await failpoint('batch:applied')
  for (const [handler, group] of batched) {
    const result = handler.run.applyBatch?.(group, tx)
    const timeoutMs = Math.max(0, left())
    if (isThenable(result)) await within(result, { clock: core.clock, timeoutMs, signal })
  }
  await tx.settle()
  await writeDeadLetters(tx, letters)
  // A deferred constraint of the user's tables would else speak only at COMMIT.
  if (applied) await tx.query('/* millrace:constraints */ set constraints all immediate')
  const last = items.at(-1)?.record
  return {
    records: items.length,
    ...tally,
    filtered: [...filteredBy.values()].reduce((sum, n) => sum + n, 0),
    deadLettered: letters.length,
    filteredBy: Object.fromEntries(filteredBy),
    lastOffset: last?.offset ?? null,
    lastHash: last === undefined ? null : hashOf(last),
  }
}

function factsOf(rejected: NonNullable<Item['rejected']>): EventFacts {
  const { eventId, eventType, eventVersion, correlationId, traceparent } = rejected
  return {
    ...(eventId === undefined ? {} : { id: eventId }),
    ...(eventType === undefined ? {} : { type: eventType }),
    ...(eventVersion === undefined ? {} : { version: eventVersion }),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(traceparent === undefined ? {} : { traceparent }),
  }
}
