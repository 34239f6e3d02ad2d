import { abortReason, throwIfAborted } from '../core/abort.ts'
import { forEachConcurrently } from '../core/concurrency.ts'
import { failpoint } from '../core/failpoint.ts'
import { isThenable } from '../core/thenable.ts'
import { thrownError } from '../errors/describe.ts'
import { waitBeforeRetry, type BatchScope } from './batch-environment.ts'
import { decide } from './decide.ts'
import { isSkip } from './handler.ts'
import type { Item, Step } from './step.ts'

/**
 * Calls `prepare` for every step that has one: several keys at once, in order within a key, outside any transaction.
 * What each gave, or why it never will, is kept on the step.
 * @throws the signal's reason when it is aborted; FloodStopReason as soon as the failures are a flood, whatever the rest does.
 */
export async function prepareItems(scope: BatchScope, items: readonly Item[]): Promise<void> {
  const lanes = new Map<string, Step[]>()
  for (const [index, { steps }] of items.entries()) {
    for (const step of steps) {
      if (step.handler.run.prepare === undefined) continue
      const key = step.event.key === null ? `#${index}` : `=${step.event.key}`
      const lane = lanes.get(key)
      if (lane === undefined) lanes.set(key, [step])
      else lane.push(step)
    }
  }
  if (lanes.size === 0) return
  await failpoint('batch:prepare')
  const { brake, options } = scope.env
  // A flood that is certain ends the waits of all: in an outage the attempts of a whole batch take minutes.
  const ending = new AbortController()
  const onAbort = (): void => ending.abort(abortReason(scope.signal))
  scope.signal.addEventListener('abort', onAbort, { once: true })
  if (scope.signal.aborted) onAbort()
  const within = { ...scope, signal: ending.signal }
  try {
    await forEachConcurrently(lanes.values(), options.prepareConcurrency, async (lane) => {
      for (const step of lane) {
        await prepareStep(within, step)
        // What fails at once keeps nobody waiting, and is looked at with the rest.
        if (step.failure === undefined || step.context.attempt === 1) continue
        try {
          await brake?.lookEarly(within, items)
        } catch (error) {
          ending.abort(error)
          throw error
        }
      }
    })
  } finally {
    scope.signal.removeEventListener('abort', onAbort)
  }
}

async function prepareStep(scope: BatchScope, step: Step): Promise<void> {
  const { maxAttempts, prepareTimeoutMs } = scope.env.options
  const { handler, event, context } = step
  for (let tries = 1; ; tries += 1) {
    throwIfAborted(scope.signal)
    try {
      const result: unknown = handler.run.prepare?.(event, context)
      const value = isThenable(result) ? await context.within(result, prepareTimeoutMs) : result
      if (isSkip(value)) step.skipped = value
      else step.prepared = value
      context.attempt = 1
      return
    } catch (thrown) {
      throwIfAborted(scope.signal)
      const error = thrownError(thrown)
      const decision = decide(error, context.attempt, maxAttempts)
      if (decision === 'dead-letter') {
        step.failure = { stage: 'prepare', error }
        return
      }
      await waitBeforeRetry(scope, {
        attempt: tries,
        error,
        what: `prepare of ${handler.name}`,
      })
      if (decision === 'retry') context.attempt += 1
    }
  }
}
