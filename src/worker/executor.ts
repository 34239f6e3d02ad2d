import { StopReason, TimeoutReason } from '../core/abort.ts'
import { failpoint } from '../core/failpoint.ts'
import { isThenable } from '../core/thenable.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import { decodeArgs } from '../jobs/args.ts'
import type { AnyJobDefinition } from '../jobs/job.ts'
import type { ClaimedJob } from './claimed-job.ts'
import { decideReturned, decideThrown, decideUnreadable, type AttemptFacts } from './decide.ts'
import type { Finisher } from './finisher.ts'
import { AttemptContext, type ContextParts } from './job-context.ts'
import { INTERRUPTED, type AttemptResult } from './result.ts'

/** The place that a job takes while it is executed. */
export interface Slot {
  /** Its handler has returned. `ms`: how long it ran. */
  ended(ms: number): void
}

/** A handler that runs. */
interface Run {
  readonly job: ClaimedJob
  readonly definition: AnyJobDefinition
  readonly context: AttemptContext
  readonly slot: Slot
  readonly startedMs: number
  readonly deadlineMs: number
  /** Whether the attempt's result has been handed over already; what the handler does from now on changes nothing. */
  settled: boolean
}

/** Options of {@link Executor}. */
export interface ExecutorOptions extends ContextParts {
  readonly definitions: ReadonlyMap<string, AnyJobDefinition>
  readonly finisher: Finisher
  /** Told when nothing runs any more. */
  onIdle(): void
}

/**
 * Runs handlers, one attempt each: parse → validate → handle → decide → hand the result over.
 *
 * A handler that does not wait costs no promise but its own, and no timer: time-outs are kept by one timer for all. What
 * enters is a claimed job, what leaves is exactly one result, given to the finisher. A handler that goes on after its
 * result was decided for it (time-out, stop) keeps its slot until it returns, and is then ignored.
 */
export class Executor {
  readonly #options: ExecutorOptions
  readonly #runs = new Set<Run>()
  #wakeAtMs = Number.POSITIVE_INFINITY
  #cancelTimer: (() => void) | undefined

  constructor(options: ExecutorOptions) {
    this.#options = options
  }

  /** Handlers that have not returned. */
  get size(): number {
    return this.#runs.size
  }

  /** Ids of the jobs that have been running for at least `ms`. */
  runningFor(ms: number): string[] {
    const before = this.#options.core.clock.monotonicMs() - ms
    return [...this.#runs].filter((run) => run.startedMs <= before).map(({ job }) => job.id)
  }

  /** How long the handlers in `slot` have been running, in milliseconds. */
  agesIn(slot: Slot): number[] {
    const now = this.#options.core.clock.monotonicMs()
    return [...this.#runs].filter((run) => run.slot === slot).map((run) => now - run.startedMs)
  }

  /** Starts a job. Never throws; the slot is told when the handler has returned, which may be before this returns. */
  start(job: ClaimedJob, slot: Slot): void {
    const definition = this.#options.definitions.get(job.kind) as AnyJobDefinition
    const startedMs = this.#options.core.clock.monotonicMs()
    const run: Run = {
      job,
      definition,
      context: new AttemptContext(this.#options, job),
      slot,
      startedMs,
      deadlineMs: startedMs + definition.timeoutMs,
      settled: false,
    }
    this.#runs.add(run)
    this.#watch(run.deadlineMs)
    const gate = failpoint('job:started')
    if (gate) void gate.then(() => this.#handle(run))
    else this.#handle(run)
  }

  /** Aborts the signals of all jobs that `wanted` says. */
  abort(reason: Error, wanted: (id: string) => boolean = () => true): void {
    for (const run of this.#runs) {
      if (!run.settled && wanted(run.job.id)) run.context.abort(reason)
    }
  }

  /** Hands over, as interrupted, all that still runs although it was asked to stop. */
  interruptRest(): void {
    for (const run of this.#runs) {
      if (run.settled || run.context.isCompleted) continue
      if (run.context.abortedWith instanceof StopReason) this.#settle(run, INTERRUPTED)
    }
  }

  /** Takes the timer back. */
  stop(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
  }

  #handle(run: Run): void {
    const { definition, job } = run
    let returned: unknown
    try {
      const args = decodeArgs(definition.kind, definition.args, job.argsJson)
      returned = definition.handle(args, run.context)
      if (isThenable(returned)) {
        returned.then(
          (value) => this.#returned(run, value),
          (error: unknown) => this.#threw(run, error),
        )
        return
      }
    } catch (error) {
      this.#threw(run, error)
      return
    }
    this.#returned(run, returned)
  }

  // Promises of other makes may settle more than once, or throw as well: whatever comes after the first is ignored. What
  // is thrown or returned may itself throw when it is looked at, and nobody would catch that: nothing gets out of these.

  #returned(run: Run, value: unknown): void {
    if (!this.#runs.has(run)) return
    if (run.settled) {
      if (!run.context.isCompleted) this.#options.finisher.addLate(run.job)
    } else if (run.context.isCompleted) {
      this.#options.finisher.written(run.job)
    } else {
      this.#settle(run, this.#decide(decideReturned, value, run))
    }
    this.#end(run)
  }

  #threw(run: Run, error: unknown): void {
    if (!this.#runs.has(run)) return
    if (run.context.isCompleted) {
      this.#log(() =>
        run.context.logger.warn(
          { error },
          'a handler threw after its transaction had completed the job; the job stays completed',
        ),
      )
      if (!run.settled) this.#options.finisher.written(run.job)
    } else if (run.settled) {
      this.#log(() => run.context.logger.debug({ error }, 'a handler ended after its time'))
    } else if (isStale(error)) {
      this.#options.finisher.addLate(run.job)
      this.#options.finisher.written(run.job)
    } else {
      this.#settle(run, this.#decide(decideThrown, error, run))
    }
    this.#end(run)
  }

  #decide(
    by: (value: unknown, facts: AttemptFacts) => AttemptResult,
    value: unknown,
    run: Run,
  ): AttemptResult {
    const facts = this.#facts(run)
    try {
      return by(value, facts)
    } catch {
      // Its own error tells nothing that the description of this case does not.
      return decideUnreadable(facts)
    }
  }

  #log(line: () => void): void {
    try {
      line()
    } catch {
      // A logger that cannot show a value must not cost a job, and there is nobody else to tell.
    }
  }

  #settle(run: Run, result: AttemptResult): void {
    run.settled = true
    this.#options.finisher.add(run.job, result)
    if (result.result !== 'completed' && result.outcome !== null) {
      const { kind, id, attempt } = run.job
      const { outcome, state } = result
      this.#log(() =>
        this.#options.core.logger.warn(
          { jobId: id, kind, attempt, outcome, state },
          'an attempt did not complete its job',
        ),
      )
    }
  }

  #end(run: Run): void {
    this.#runs.delete(run)
    run.slot.ended(this.#options.core.clock.monotonicMs() - run.startedMs)
    if (this.#runs.size === 0) this.#options.onIdle()
  }

  #facts({ definition, job, context }: Run): AttemptFacts {
    return {
      definition,
      attempt: job.attempt,
      maxAttempts: job.maxAttempts,
      random: this.#options.core.random,
      aborted: context.abortedWith,
    }
  }

  /** Sees to it that the timer goes off at `deadlineMs` at the latest. */
  #watch(deadlineMs: number): void {
    if (deadlineMs >= this.#wakeAtMs) return
    const { clock } = this.#options.core
    this.#cancelTimer?.()
    this.#wakeAtMs = deadlineMs
    this.#cancelTimer = clock.after(
      Math.max(1, deadlineMs - clock.monotonicMs()),
      this.#checkDeadlines,
    )
  }

  readonly #checkDeadlines = (): void => {
    this.#wakeAtMs = Number.POSITIVE_INFINITY
    this.#cancelTimer = undefined
    const now = this.#options.core.clock.monotonicMs()
    let next = Number.POSITIVE_INFINITY
    for (const run of this.#runs) {
      if (run.settled || run.context.isCompleted) continue
      if (run.deadlineMs <= now) this.#timeOut(run)
      else next = Math.min(next, run.deadlineMs)
    }
    if (next < Number.POSITIVE_INFINITY) this.#watch(next)
  }

  /**
   * The result is decided now, whatever the handler makes of the signal: a job must not wait for a handler that hangs. A
   * transaction of the handler's that commits nevertheless wins, for it goes through the same fence.
   */
  #timeOut(run: Run): void {
    const { timeoutMs } = run.definition
    run.context.abort(new TimeoutReason(timeoutMs))
    const error = new MillraceError(
      'E_JOB_TIMEOUT',
      `the handler took longer than ${timeoutMs} ms`,
      {
        retryable: true,
        details: { timeoutMs },
      },
    )
    this.#settle(run, decideThrown(error, this.#facts(run)))
  }
}

function isStale(error: unknown): boolean {
  try {
    return isMillraceError(error) && error.code === 'E_JOB_STALE'
  } catch {
    // Ours can be looked at.
    return false
  }
}
