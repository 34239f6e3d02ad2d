import type { Core } from '../core/core.ts'
import { isWhole, Problems } from '../errors/config.ts'
import type { EventPublisher } from '../jobs/event-publisher.ts'
import type { FinishHooks } from '../jobs/finished.ts'
import type { AnyJobDefinition } from '../jobs/job.ts'
import { isName } from '../jobs/name.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Heartbeat } from '../process/heartbeat.ts'

/** How many of a queue's jobs this process executes at once. */
export type QueueOptions = number | { readonly concurrency: number }

/** Options of {@link Worker}. */
export interface WorkerOptions {
  readonly core: Core
  /** Uses up to 4 connections of its own, 2 more per queue, and one per handler's transaction. */
  readonly pool: Pool
  /** Started by whoever made it; its id is what jobs are claimed under. */
  readonly heartbeat: Pick<Heartbeat, 'id' | 'alive' | 'alone' | 'onLapse'>
  readonly listener: Pick<Listener, 'on'>
  readonly waker: JobWaker
  /** Kinds that this process executes. Jobs of other kinds are left alone. */
  readonly definitions: readonly AnyJobDefinition[]
  /** Queues to work off. Default: those of the definitions, with a concurrency of 10 each. Bounds 1 … 1,000. */
  readonly queues?: Readonly<Record<string, QueueOptions>>
  readonly hooks?: FinishHooks
  /** What `context.publish` uses. Without it, handlers cannot publish. */
  readonly publisher?: EventPublisher
  readonly limits?: WorkerLimits
}

/** Limits of a {@link Worker}. */
export interface WorkerLimits {
  /** Time between two sweeps, in milliseconds: how late a job may be found that nobody woke us for. Default 1,000. Bounds 10 … 60,000. */
  readonly pollMs?: number
  /** Results not yet written, above which nothing new is started. Default 5,000. Bounds 1 … 100,000. Of those that the database refuses for what is in them, up to half as many more are not counted. */
  readonly maxUnwritten?: number
  /** Limit of a handler's transaction, in milliseconds, kept by the server. Default 10,000. Bounds 100 … 600,000. */
  readonly transactionMs?: number
}

/** {@link WorkerOptions} with every default filled in. */
export interface FilledWorkerOptions
  extends Omit<WorkerOptions, 'definitions' | 'queues' | 'hooks' | 'publisher' | 'limits'> {
  readonly definitions: ReadonlyMap<string, AnyJobDefinition>
  /** Concurrency by queue. */
  readonly queues: ReadonlyMap<string, number>
  readonly hooks: FinishHooks
  readonly publisher: WorkerOptions['publisher']
  readonly limits: Required<WorkerLimits>
}

const DEFAULT_CONCURRENCY = 10

/** @throws E_CONFIG_INVALID naming everything that is wrong. */
export function fillWorkerOptions(options: WorkerOptions): FilledWorkerOptions {
  const problems = new Problems('the worker')
  const definitions = new Map<string, AnyJobDefinition>()
  for (const definition of options.definitions) {
    const known = definitions.get(definition.kind)
    problems.expect(
      known === undefined || known === definition,
      'definitions',
      'one definition per kind',
      definition.kind,
    )
    definitions.set(definition.kind, definition)
  }
  const queues = new Map<string, number>()
  for (const [queue, given] of Object.entries(options.queues ?? defaultQueues(definitions))) {
    const concurrency = typeof given === 'number' ? given : given.concurrency
    problems.expect(isName(queue), 'queues', 'names of 1 to 200 characters', queue)
    problems.expect(
      isWhole(concurrency, 1, 1_000),
      `queues.${queue}`,
      'a whole number from 1 to 1000',
      concurrency,
    )
    queues.set(queue, concurrency)
  }
  const limits = {
    pollMs: options.limits?.pollMs ?? 1_000,
    maxUnwritten: options.limits?.maxUnwritten ?? 5_000,
    transactionMs: options.limits?.transactionMs ?? 10_000,
  }
  const bounds = {
    pollMs: [10, 60_000],
    maxUnwritten: [1, 100_000],
    transactionMs: [100, 600_000],
  } as const
  for (const name of Object.keys(bounds) as (keyof typeof bounds)[]) {
    const [min, max] = bounds[name]
    problems.expect(
      isWhole(limits[name], min, max),
      `limits.${name}`,
      `a whole number from ${min} to ${max}`,
      limits[name],
    )
  }
  problems.throwIfAny()
  return {
    ...options,
    definitions,
    queues,
    hooks: options.hooks ?? {},
    publisher: options.publisher,
    limits,
  }
}

function defaultQueues(
  definitions: ReadonlyMap<string, AnyJobDefinition>,
): Readonly<Record<string, QueueOptions>> {
  return Object.fromEntries(
    [...definitions.values()].map(({ queue }) => [queue, DEFAULT_CONCURRENCY]),
  )
}
