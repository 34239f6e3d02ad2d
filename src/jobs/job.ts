import type { StandardSchemaV1 } from '@standard-schema/spec'
import { backoffMs, type BackoffOptions } from '../core/backoff.ts'
import { parseDuration, type Duration } from '../core/duration.ts'
import type { Random } from '../core/random.ts'
import { isWhole, Problems } from '../errors/config.ts'
import type { JobContext } from './context.ts'
import type { InsertableJob } from './insertable-job.ts'
import { isName } from './name.ts'
import type { JobOutcome } from './outcome.ts'

/** What a handler returns: nothing, which completes the job, or an outcome. Anything else completes it as well. */
export type HandlerResult = JobOutcome | void | undefined

/** Options of {@link job}. */
export interface JobOptions<Schema extends StandardSchemaV1> {
  /**
   * Shape of the args, any Standard Schema that validates at once. What is stored is its *input* as JSON (at most 1 Mi
   * characters); it is validated when the job is inserted and again, by the code then deployed, before each attempt.
   */
  readonly args: Schema
  /** The line it waits in. Default `'default'`. 1 to 200 characters. */
  readonly queue?: string
  /** 0 (first) … 9 (last), within its queue. Default 5. */
  readonly priority?: number
  /** Executions allowed in total; when they are spent, the job is discarded. Default 20. Bounds 1 … 1,000. */
  readonly maxAttempts?: number
  /**
   * How long one attempt may take before its signal is aborted and it counts as failed. Default 5 minutes, because work
   * without a limit holds its place for ever when it hangs. Bounds 1 ms … 24 days.
   */
  readonly timeout?: Duration
  /**
   * Wait before the next attempt: options of the exponential backoff, or a function of the attempt that failed (from 1)
   * to milliseconds. Default: 1 s, doubling up to 1 h, less up to a quarter at random.
   */
  readonly backoff?: BackoffOptions | ((attempt: number) => number)
  /** How often a process may end while this very job is running, before the job is discarded. Default 3. Bounds 1 … 100. */
  readonly maxCrashes?: number
  /**
   * Does the work. Returning completes the job, or does what the returned outcome says; throwing fails the attempt, and
   * throwing `permanent(…)` discards the job at once.
   */
  handle(
    args: StandardSchemaV1.InferOutput<Schema>,
    context: JobContext,
  ): Promise<HandlerResult> | HandlerResult
}

/** A kind of job: what it is called, what it is told, how it is done. A plain value that can be imported anywhere. */
export interface JobDefinition<Kind extends string = string, Input = unknown, Output = Input>
  extends InsertableJob<Input, Output> {
  readonly definition: 'job'
  readonly kind: Kind
  readonly timeoutMs: number
  /** The wait after the attempt with this number, in milliseconds. */
  backoff(attempt: number, random: Random): number
  handle(args: Output, context: JobContext): Promise<HandlerResult> | HandlerResult
}

/** Any kind of job. */
export type AnyJobDefinition = JobDefinition<string, unknown, unknown>

/** What one inserts a job of the definition `D` with. */
export type JobInput<D extends AnyJobDefinition> =
  D extends JobDefinition<string, infer Input, unknown> ? Input : never

/** What the handler of the definition `D` gets. */
export type JobArgs<D extends AnyJobDefinition> =
  D extends JobDefinition<string, unknown, infer Output> ? Output : never

/** Longest delay that a timer of the runtime can hold, less some: 24 days. */
const MAX_TIMEOUT_MS = 24 * 86_400_000
/** Longest wait between two attempts: a year. */
const MAX_BACKOFF_MS = 366 * 86_400_000

/**
 * Defines a kind of job.
 *
 * ```ts
 * export const sendConfirmation = job('order.send-confirmation', {
 *   args: z.object({ orderId: z.string() }),
 *   queue: 'mail',
 *   timeout: '30s',
 *   async handle({ orderId }, { signal, idempotencyKey }) {
 *     await mail.send(orderId, { signal, idempotencyKey })
 *   },
 * })
 * ```
 * @throws E_CONFIG_INVALID naming everything that is wrong.
 */
export function job<const Kind extends string, Schema extends StandardSchemaV1>(
  kind: Kind,
  options: JobOptions<Schema>,
): JobDefinition<Kind, StandardSchemaV1.InferInput<Schema>, StandardSchemaV1.InferOutput<Schema>> {
  const { queue = 'default', priority = 5, maxAttempts = 20, maxCrashes = 3 } = options
  const { args, timeout = '5m', backoff = {}, handle } = options
  const timeoutMs = parseDuration(timeout)
  const problems = new Problems(`job '${kind}'`)
  problems.expect(isName(kind), 'kind', 'a name of 1 to 200 characters', kind)
  problems.expect(isSchema(args), 'args', 'a Standard Schema', args)
  problems.expect(isName(queue), 'queue', 'a name of 1 to 200 characters', queue)
  problems.expect(isWhole(priority, 0, 9), 'priority', 'a whole number from 0 to 9', priority)
  problems.expect(
    isWhole(maxAttempts, 1, 1_000),
    'maxAttempts',
    'a whole number from 1 to 1000',
    maxAttempts,
  )
  problems.expect(
    isWhole(maxCrashes, 1, 100),
    'maxCrashes',
    'a whole number from 1 to 100',
    maxCrashes,
  )
  problems.expect(
    timeoutMs !== undefined && timeoutMs >= 1 && timeoutMs <= MAX_TIMEOUT_MS,
    'timeout',
    "a duration from '1ms' to '24d'",
    timeout,
  )
  expectBackoff(problems, backoff)
  problems.expect(typeof handle === 'function', 'handle', 'a function', handle)
  problems.throwIfAny()
  return Object.freeze({
    definition: 'job' as const,
    kind,
    args,
    queue,
    priority,
    maxAttempts,
    timeoutMs: timeoutMs as number,
    maxCrashes,
    backoff: backoffOf(backoff),
    handle: handle.bind(options),
  })
}

function isSchema(value: unknown): boolean {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  const standard = (value as Partial<StandardSchemaV1>)['~standard']
  return typeof standard?.validate === 'function'
}

function backoffOf(
  backoff: BackoffOptions | ((attempt: number) => number),
): (attempt: number, random: Random) => number {
  if (typeof backoff !== 'function') {
    return (attempt, random) => backoffMs(attempt, random, backoff)
  }
  return (attempt) => {
    const ms = backoff(attempt)
    // A wrong answer must not lose the job: not a number, or less than nothing, means at once.
    return Number.isFinite(ms) ? Math.min(MAX_BACKOFF_MS, Math.max(0, Math.round(ms))) : 0
  }
}

function expectBackoff(
  problems: Problems,
  backoff: BackoffOptions | ((attempt: number) => number),
): void {
  if (typeof backoff === 'function') return
  const { baseMs = 1_000, factor = 2, maxMs = 3_600_000, jitter = 0.25 } = backoff
  problems.expect(
    isWhole(maxMs, 1, MAX_BACKOFF_MS),
    'backoff.maxMs',
    'a whole number of milliseconds from 1 to 366 days',
    maxMs,
  )
  problems.expect(
    isWhole(baseMs, 1, maxMs),
    'backoff.baseMs',
    `a whole number from 1 to backoff.maxMs (${maxMs})`,
    baseMs,
  )
  problems.expect(
    typeof factor === 'number' && factor >= 1 && factor <= 10,
    'backoff.factor',
    'a number from 1 to 10',
    factor,
  )
  problems.expect(
    typeof jitter === 'number' && jitter >= 0 && jitter <= 1,
    'backoff.jitter',
    'a number from 0 to 1',
    jitter,
  )
}
