import type { LogRecord } from '../log/port.ts'
import type { BatchScope } from './batch-environment.ts'
import { StepContext, type Item, type Step } from './step.ts'

/** Reads a record, and finds out who is to handle it. Never throws. */
export async function toItem(scope: BatchScope, record: LogRecord): Promise<Item> {
  const { env, position, signal } = scope
  const answer = env.decode(record)
  const decoded = answer instanceof Promise ? await answer : answer
  const none = { record, steps: [], filtered: undefined, rejected: undefined }
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
          context: new StepContext(
            core,
            application,
            handler.name,
            record,
            position.generation,
            signal,
          ),
          prepared: undefined,
          failure: undefined,
          skipped: undefined,
        }
      })
      return { ...none, steps }
    }
  }
}
