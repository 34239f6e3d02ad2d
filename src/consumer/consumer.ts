import type { Core } from '../core/core.ts'
import type { Log } from '../log/port.ts'
import { wake, type Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import type { Application } from './application.ts'
import { BackPressure } from './back-pressure.ts'
import { bindApplication } from './bind.ts'
import { Fetcher } from './fetcher.ts'
import type { HandlerEnvironment } from './handler.ts'
import { Ownership } from './ownership.ts'
import { PartitionConsumer } from './partition-consumer.ts'
import { PositionHints } from './position-hints.ts'

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
  readonly places?: NonNullable<HandlerEnvironment['places']>
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
    const { core, pool, log, heartbeat, listener, ownershipMs } = this.#options
    const environment = bindApplication(application, this.#options)
    const { options } = environment
    const backPressure = environment.makesJobs
      ? new BackPressure({ core, pool, application: application.name, ...options.backlog })
      : undefined
    const hints = new PositionHints({ core, log, application: application.name })
    this.#hints.push(hints)
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
