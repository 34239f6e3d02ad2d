import { abortReason, throwIfAborted, whenAborted } from '../core/abort.ts'
import { forEachConcurrently } from '../core/concurrency.ts'
import { failpoint } from '../core/failpoint.ts'
import { isThenable } from '../core/thenable.ts'
import { thrownError } from '../errors/describe.ts'
import { waitBeforeRetry, type BatchScope } from './batch-environment.ts'
import { decide } from './decide.ts'
import { isSkip } from './handler.ts'
import type { Item, Step } from './step.ts'

/**
 * Calls `prepare` for every step that has one and is not skipped yet: several keys at once, in order within a key, outside
 * any transaction. What each gave, or why it never will, is kept on the step.
 * @throws the signal's reason when it is aborted; FloodStopReason as soon as the failures are a flood, whatever the rest does.
 */
export async function prepareItems(scope: BatchScope, items: readonly Item[]): Promise<void> {
  const lanes = new Map<string, Step[]>()
  for (const [index, { steps }] of items.entries()) {
    for (const step of steps) {
      if (step.handler.run.prepare === undefined || step.skipped !== undefined) continue
      const key = step.event.key === null ? `#${index}` : `=${step.event.key}`
      const lane = lanes.get(key)
      if (lane === undefined) lanes.set(key, [step])
      else lane.push(step)
    }
  }
  const { brake, core, options, pace } = scope.env
  if (lanes.size === 0) {
    pace?.prepared(items.length, 0)
    return
  }
  await failpoint('batch:prepare')
  const beganMs = core.clock.monotonicMs()
  // A flood that is certain ends the waits of all: in an outage the attempts of a whole batch take minutes.
  const ending = new AbortController()
  const onAbort = (): void => ending.abort(abortReason(scope.signal))
  const stopWaiting = whenAborted(scope.signal, onAbort)
  if (scope.signal.aborted) onAbort()
  const within = { ...scope, signal: ending.signal }
  const lookAfter = async (step: Step): Promise<void> => {
    // What fails at once keeps nobody waiting, and is looked at with the rest.
    if (step.failure === undefined || step.context.attempt === 1) return
    try {
      await brake?.lookEarly(within, items)
    } catch (error) {
      ending.abort(error)
      throw error
    }
  }
  const prepareLane = (lane: readonly Step[], from = 0): Promise<void> | undefined => {
    for (let at = from; at < lane.length; at += 1) {
      const step = lane[at] as Step
      const waiting = prepareStep(within, step)
      if (waiting !== undefined)
        return waiting.then(() => lookAfter(step)).then(() => prepareLane(lane, at + 1))
    }
    return undefined
  }
  try {
    await forEachConcurrently(lanes.values(), options.prepareConcurrency, (lane) =>
      prepareLane(lane),
    )
  } finally {
    stopWaiting()
    pace?.prepared(items.length, core.clock.monotonicMs() - beganMs)
  }
}

/** Calls `prepare` of a step. A promise only if it waits or throws: most look nothing up, and are done at once. */
function prepareStep(scope: BatchScope, step: Step): Promise<void> | undefined {
  throwIfAborted(scope.signal)
  try {
    const result = call(step)
    if (isThenable(result)) return prepareWaiting(scope, step, () => result)
    // Whatever is odd about a value shows when it is looked at.
    take(step, result)
    return undefined
  } catch (thrown) {
    return prepareWaiting(scope, step, () => {
      throw thrown
    })
  }
}

/** Goes on with what the first call gave, until it is known what becomes of the step. */
async function prepareWaiting(scope: BatchScope, step: Step, first: () => unknown): Promise<void> {
  const { maxAttempts, prepareTimeoutMs } = scope.env.options
  const { handler, context } = step
  let attempt = first
  for (let tries = 1; ; tries += 1) {
    try {
      const result = attempt()
      take(step, isThenable(result) ? await context.within(result, prepareTimeoutMs) : result)
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
    throwIfAborted(scope.signal)
    attempt = () => call(step)
  }
}

function call({ handler, event, context }: Step): unknown {
  return handler.run.prepare?.(event, context)
}

function take(step: Step, value: unknown): void {
  if (isSkip(value)) step.skipped = value
  else step.prepared = value
}
