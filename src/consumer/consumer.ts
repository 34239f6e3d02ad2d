import type { Core } from '../core/core.ts'
import { createDecoder } from '../events/decode.ts'
import type { Log } from '../log/port.ts'
import { wake, type Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import type { Application } from './application.ts'
import { BackPressure } from './back-pressure.ts'
import type { BatchEnvironment } from './batch-environment.ts'
import { Fetcher } from './fetcher.ts'
import { skip, type HandlerDefinition, type HandlerEnvironment } from './handler.ts'
import { Ownership } from './ownership.ts'
import { PartitionConsumer } from './partition-consumer.ts'
import { PositionHints } from './position-hints.ts'
import type { BoundHandler, Step } from './step.ts'

/** Options of {@link Consumer}. */
export interface ConsumerOptions {
  readonly core: Core
  readonly pool: Pool
  readonly log: Log
  readonly heartbeat: Heartbeat
  readonly listener: Listener
  readonly applications: readonly Application[]
  /** See {@link HandlerEnvironment}. */
  readonly waker: HandlerEnvironment['waker']
  readonly codeVersion: string | null
  /** Time between two looks at who should own what, in milliseconds. Default 1,000. */
  readonly ownershipMs?: number
  /** Time between two looks at a log that says nothing, in milliseconds. Default 100. */
  readonly idleMs?: number
}

/** Reads the partitions of this process' applications that are its share. */
export class Consumer {
  readonly #options: ConsumerOptions
  readonly #fetcher: Fetcher
  readonly #ownerships: readonly Ownership[]
  readonly #hints: PositionHints[] = []

  constructor(options: ConsumerOptions) {
    this.#options = options
    const { core, log, idleMs } = options
    this.#fetcher = new Fetcher({ core, log, ...(idleMs === undefined ? {} : { idleMs }) })
    this.#ownerships = options.applications.map((application) => this.#ownership(application))
  }

  async start(): Promise<void> {
    const { applications, pool } = this.#options
    this.#fetcher.start()
    for (const hints of this.#hints) hints.start()
    for (const ownership of this.#ownerships) ownership.start()
    for (const { name } of applications) await wake(pool, 'owners', name)
  }

  /** Finishes the batches at hand and gives the partitions back; with `now`, rolls the batches back instead. */
  async stop(options: { readonly now?: boolean } = {}): Promise<void> {
    await Promise.all(this.#ownerships.map((ownership) => ownership.stop(options)))
    await Promise.all(this.#hints.map((hints) => hints.stop()))
    await this.#fetcher.stop()
  }

  #ownership(application: Application): Ownership {
    const { core, pool, log, heartbeat, listener, waker, codeVersion, ownershipMs } = this.#options
    // The transaction must be over long before somebody else may take the partition.
    const options = {
      ...application.options,
      transactionTimeoutMs: Math.min(
        application.options.transactionTimeoutMs,
        Math.floor(heartbeat.takeOverMs / 3),
      ),
    }
    const handlers = bind(application, { core, pool, log, waker, codeVersion })
    const makesJobs = [...handlers.values()].flat().some(({ run }) => run.disposition === 'jobs')
    const backPressure = makesJobs
      ? new BackPressure({ core, pool, application: application.name, ...options.backlog })
      : undefined
    const hints = new PositionHints({ core, log, application: application.name })
    this.#hints.push(hints)
    const environment: Omit<BatchEnvironment, 'onWaiting' | 'processId'> = {
      core,
      pool,
      log,
      waker,
      codeVersion,
      application: application.name,
      options,
      decode: createDecoder([...handlers.keys()], {
        ...(options.maxValueBytes === undefined ? {} : { maxValueBytes: options.maxValueBytes }),
        ...(options.maxDepth === undefined ? {} : { maxDepth: options.maxDepth }),
      }),
      handlersOf: (definition) => handlers.get(definition as never) ?? [],
      async whenAlive(signal) {
        while (!heartbeat.alive) await core.clock.sleep(50, { signal })
      },
    }
    return new Ownership({
      core,
      pool,
      log,
      heartbeat,
      listener,
      application,
      ...(ownershipMs === undefined ? {} : { intervalMs: ownershipMs }),
      makeConsumer: (position, processId) =>
        new PartitionConsumer({
          core,
          log,
          fetcher: this.#fetcher,
          position,
          environment: { ...environment, processId },
          backPressure,
          hints,
        }),
    })
  }
}

type Definitions = Application['registrations'][number]['definition']

function bind(
  application: Application,
  environment: HandlerEnvironment,
): Map<Definitions, BoundHandler[]> {
  const handlers = new Map<Definitions, BoundHandler[]>()
  for (const { definition, handler, name, filter } of application.registrations) {
    const run = (handler as HandlerDefinition<Step['event']>).bind(environment)
    const bound: BoundHandler = { name, run: filter === undefined ? run : filtered(run, filter) }
    const list = handlers.get(definition)
    if (list === undefined) handlers.set(definition, [bound])
    else list.push(bound)
  }
  return handlers
}

function filtered(
  run: BoundHandler['run'],
  filter: NonNullable<Application['registrations'][number]['filter']>,
): BoundHandler['run'] {
  return {
    ...run,
    prepare: (event, context) => (filter(event) ? run.prepare?.(event, context) : skip('filter')),
  }
}
