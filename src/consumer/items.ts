import { TimeoutReason } from '../core/abort.ts'
import { within } from '../core/within.ts'
import { readForeignDeadLetter } from '../dead-letter/foreign.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Decoded } from '../events/decode.ts'
import type { LogRecord } from '../log/port.ts'
import type { BatchScope } from './batch-environment.ts'
import { StepContext, type Item, type Step } from './step.ts'

/**
 * Reads a record, and finds out who is to handle it. Waits only for an asynchronous schema: a promise for each record costs
 * more than most of what is done here.
 * @param generation of the position that reads it.
 * @throws the signal's reason when it is aborted while such a schema is waited for.
 */
export function toItem(
  scope: BatchScope,
  record: LogRecord,
  generation: number,
): Item | Promise<Item> {
  const { env } = scope
  const foreign = env.options.deadLetterTopics.get(record.topic)
  if (foreign !== undefined) {
    const taken = readForeignDeadLetter(record, foreign.headers)
    return { ...noneOf(record, generation), taken }
  }
  const decoded = env.decode(record)
  return decoded instanceof Promise
    ? decodeWithin(scope, decoded).then((late) => itemOf(scope, record, generation, late))
    : itemOf(scope, record, generation, decoded)
}

function itemOf(
  { env, signal }: BatchScope,
  record: LogRecord,
  generation: number,
  decoded: Decoded,
): Item {
  const none = noneOf(record, generation)
  switch (decoded.kind) {
    case 'filtered':
      return { ...none, filtered: decoded.reason }
    case 'rejected':
      return { ...none, rejected: decoded }
    case 'event': {
      const steps = env.handlersOf(decoded.definition).map((handler): Step => {
        const { core, application } = env
        return {
          handler,
          event: decoded.event,
          context: new StepContext(core, application, handler.name, record, generation, signal),
          prepared: undefined,
          failure: undefined,
          skipped: undefined,
        }
      })
      return { ...none, steps }
    }
  }
}

function noneOf(record: LogRecord, generation: number): Item {
  return { record, generation, steps: [], filtered: undefined, rejected: undefined }
}

function decodeWithin({ env, signal }: BatchScope, answer: Promise<Decoded>): Promise<Decoded> {
  const timeoutMs = env.options.prepareTimeoutMs
  return within(answer, { clock: env.core.clock, timeoutMs, signal }).catch((error: unknown) => {
    if (!(error instanceof TimeoutReason)) throw error
    const message = `the schema did not say within ${timeoutMs} ms whether the data match it`
    return {
      kind: 'rejected',
      stage: 'validate',
      error: new MillraceError('E_EVENT_INVALID', message),
    }
  })
}
