import { tellNewFingerprints } from '../alerts/alerts.ts'
import { discardedJobsToDeadLetters } from '../bridge/discarded-jobs.ts'
import {
  millraceTransaction,
  writer,
  type InsertOptions,
  type MillraceTransaction,
  type PublishOptions,
  type Writer,
} from '../bridge/millrace-transaction.ts'
import type { OnFinished } from '../jobs/finished.ts'
import { autonomousSink, directSink, Wakes } from '../bridge/sink.ts'
import { Consumer } from '../consumer/consumer.ts'
import { createCore, type Core } from '../core/core.ts'
import { deadTopicOf } from '../dead-letter/export-record.ts'
import { DeadLetterExporter, setExport } from '../dead-letter/exporter.ts'
import type { EventDefinition } from '../events/event.ts'
import { ensureHistoryDays } from '../jobs/history-days.ts'
import type { InsertableJob } from '../jobs/insertable-job.ts'
import { retryJobsIn } from '../jobs/retry.ts'
import { JobWaker } from '../jobs/wake.ts'
import type { Log } from '../log/port.ts'
import { isRelayLog } from '../log/relay-port.ts'
import { tableLog } from '../log/table-log.ts'
import { Collector } from '../metrics/collector.ts'
import { MetricsEndpoint } from '../metrics/endpoint.ts'
import { Relay } from '../outbox/relay.ts'
import { DEFAULT_LEASE_MS, setShardCount } from '../outbox/shards.ts'
import {
  checkConnection,
  createControlPool,
  createPool,
  outliveBrokenConnections,
} from '../postgres/connect.ts'
import { Listener } from '../postgres/listener.ts'
import { migrate } from '../postgres/migrate.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { transaction } from '../postgres/transaction.ts'
import { Heartbeat, readName } from '../process/heartbeat.ts'
import { Replayer } from '../replay/replayer.ts'
import { jsonLogger } from '../telemetry/json-logger.ts'
import { Upkeep } from '../upkeep/upkeep.ts'
import { Worker } from '../worker/worker.ts'
import { configuredJobs } from './config.ts'
import { createTopics, partitionsOf } from './create-topics.ts'
import { checkStartOptions, type StartOptions } from './options.ts'
import { eventPublisher } from './publisher.ts'
import { summarize, type Summary } from './summary.ts'

/** Where a piece of writing goes: `tx` is a `pg` client inside `begin … commit`, or a transaction of ours. */
export interface Within {
  readonly tx?: Queryable
}

/** A running millrace. */
export interface Millrace {
  /** The pool it works with. */
  readonly database: Pool
  readonly log: Log
  /** Random id of this process; changes if it was silent for too long and had to be replaced. */
  readonly processId: string
  /** Whether wake-ups arrive; `false`: everything goes on by polling. */
  readonly listening: boolean
  /** Where Prometheus finds `/metrics`, if this process serves it. Null: it does not. */
  readonly metricsUrl: string | null
  /**
   * Runs `action` in a transaction; what it publishes and inserts is committed with its statements, or not at all.
   * @throws E_DB_UNKNOWN_COMMIT when the connection broke at COMMIT and the outcome cannot be found out.
   */
  transaction<T>(action: (tx: MillraceTransaction) => Promise<T>): Promise<T>
  /**
   * Publishes an event: in a transaction of its own, or in `tx`. Written through a `pg` client of yours, it is found by
   * polling; nobody can know when you commit.
   *
   * On a log outside of the database, what is published in a transaction goes through the outbox, and without one it is in
   * the log when this returns. The two ways keep no order between each other.
   */
  publish<I>(
    definition: EventDefinition<string, I, unknown>,
    data: NoInfer<I>,
    options?: PublishOptions & Within,
  ): Promise<string>
  publishMany<I>(
    definition: EventDefinition<string, I, unknown>,
    data: readonly NoInfer<I>[],
    options?: Omit<PublishOptions, 'id'> & Within,
  ): Promise<string[]>
  /** Inserts a job: in a transaction of its own, or in `tx`. */
  insert<I>(
    definition: InsertableJob<I>,
    args: NoInfer<I>,
    options?: InsertOptions & Within,
  ): Promise<string>
  insertMany<I>(
    definition: InsertableJob<I>,
    args: readonly NoInfer<I>[],
    options?: InsertOptions & Within,
  ): Promise<string[]>
  /** What has been done since the first start, and what is left. */
  summary(): Promise<Summary>
  /**
   * Finishes the batches at hand, gives partitions back, lets running jobs finish for `stopMs`, then ends. Safe to call
   * twice; with `now`, also while a slower stop is under way, nothing is waited for.
   */
  stop(options?: { readonly now?: boolean }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Starts millrace: checks and migrates the database, makes missing topics, and runs applications and jobs until it is
 * stopped.
 * @throws E_CONFIG_INVALID, E_DB_CONNECT, E_DB_VERSION, E_DB_MIGRATION
 */
export async function start(options: StartOptions): Promise<Millrace> {
  checkStartOptions(options)
  const core = createCore({
    logger: jsonLogger({ level: 'warn' }),
    ...options.core,
    ...(options.logger === undefined ? {} : { logger: options.logger }),
  })
  const pool =
    typeof options.database === 'string'
      ? createPool(
          options.database,
          options.poolSize === undefined ? {} : { max: options.poolSize },
        )
      : options.database
  // An idle connection that breaks says so on the pool; unheard, it would end the process.
  const onPoolError = (error: Error): void =>
    core.logger.warn({ error }, 'an idle database connection broke')
  // What says that this process lives must not wait behind its handlers for a connection.
  const statementMs = Math.min(5_000, Math.floor((options.takeOverMs ?? 15_000) / 3))
  const control = createControlPool(pool, statementMs)
  for (const one of [pool, control]) one.on('error', onPoolError)
  const endOutliving = outliveBrokenConnections(pool)
  const undo: (() => Promise<void>)[] = [
    async () => {
      endOutliving()
      // A server that goes away just now breaks what is being closed anyway.
      control.off('error', onPoolError).on('error', () => {})
      if (typeof options.database === 'string') await pool.end()
      else pool.off('error', onPoolError)
      await control.end()
    },
  ]
  try {
    await checkConnection(pool)
    if (options.migrate !== false) await migrate(pool)
    if (options.queues !== false) await makeHistoryDays(core, pool)
    return await run(options, core, pool, control, undo)
  } catch (error) {
    for (const step of undo.toReversed()) await step().catch(() => {})
    throw error
  }
}

/** Starts the parts, each noting in `undo` how it is stopped; they are stopped in the reverse order. */
async function run(
  options: StartOptions,
  core: Core,
  pool: Pool,
  control: Pool,
  undo: (() => Promise<void>)[],
): Promise<Millrace> {
  const applications = options.run ?? []
  const codeVersion = options.codeVersion ?? null
  let now = false
  const given = <K extends keyof StartOptions>(...keys: K[]): Pick<StartOptions, K> =>
    Object.fromEntries(
      keys.filter((key) => options[key] !== undefined).map((key) => [key, options[key]]),
    ) as Pick<StartOptions, K>

  const listener = new Listener({ core, pool: control })
  const log = await (options.log ?? tableLog()).open({ core, pool, listener })
  undo.push(() => log.close())
  await createTopics(core, log, options)
  const relayLog =
    !log.transactional && options.relay !== false && isRelayLog(log) ? log : undefined
  if (options.outboxShards !== undefined && !log.transactional)
    await setShardCount(pool, options.outboxShards)

  const heartbeat = new Heartbeat({
    core,
    pool: control,
    applications: applications.map(({ name }) => name),
    reads: applications.flatMap(({ name, topics }) => topics.map((topic) => readName(name, topic))),
    ...(given('name', 'codeVersion', 'takeOverMs', 'heartbeatMs') as object),
    relays: relayLog !== undefined,
  })
  await heartbeat.start()
  undo.push(() => heartbeat.stop())
  listener.start()
  undo.push(() => listener.stop())

  const waker = new JobWaker({ core, pool: control })
  const env = { core, pool, log, waker }
  undo.push(() => waker.idle())
  const onFinished: OnFinished = (tx, finished) =>
    discardedJobsToDeadLetters({ core, log, codeVersion }, tx, finished)
  if (options.upkeep !== false) {
    const upkeep = new Upkeep({
      core,
      pool,
      heartbeat,
      waker,
      hooks: { onFinished },
      ...(options.alerts === undefined ? {} : { duties: [tellNewFingerprints(options.alerts)] }),
      // A leader that dies is to be replaced no later than what it would rescue.
      leaseMs: Math.max(300, Math.min(10_000, heartbeat.takeOverMs)),
      ...given('historyDays'),
    })
    upkeep.start()
    undo.push(() => upkeep.stop())
  }
  let relay: Relay | undefined
  if (relayLog !== undefined) {
    // A relay that dies is to be followed no later than the log ends its transaction.
    const leaseMs = Math.max(300, Math.min(DEFAULT_LEASE_MS, heartbeat.takeOverMs))
    relay = new Relay({ core, pool, log: relayLog, heartbeat, listener, leaseMs })
    const started = relay
    started.start()
    undo.push(() => started.stop({ now }))
  }
  const definitions = configuredJobs(options)
  let worker: Worker | undefined
  if (options.queues !== false && definitions.length > 0) {
    worker = new Worker({
      core,
      pool,
      heartbeat,
      listener,
      waker,
      definitions,
      ...(options.queues === undefined ? {} : { queues: options.queues }),
      hooks: { onFinished },
      publisher: eventPublisher(env),
    })
    const started = worker
    started.start()
    undo.push(() => started.stop(now ? 0 : (options.stopMs ?? 10_000)))
  }
  const replayer = new Replayer({
    ...env,
    heartbeat,
    listener,
    applications,
    codeVersion,
    retryJobs: (tx, ids) => retryJobsIn(tx, waker, ids),
  })
  replayer.start()
  undo.push(() => replayer.stop())
  let endpoint: MetricsEndpoint | undefined
  if (options.metrics !== undefined) {
    endpoint = new MetricsEndpoint({
      core,
      ...options.metrics,
      collector: new Collector({ core, pool, log }),
      ready: () => heartbeat.alive,
    })
    const serving = endpoint
    undo.push(() => serving.stop())
    await serving.start()
  }
  const consumer = new Consumer({
    ...env,
    heartbeat,
    listener,
    applications,
    codeVersion,
    ...(worker && { places: worker }),
  })
  undo.push(() => consumer.stop({ now }))
  for (const { name, options: own } of applications) {
    await setExport(pool, name, own.exportDeadLetters)
    if (!own.exportDeadLetters) continue
    const partitions = partitionsOf(deadTopicOf(name), options)
    const exporter = new DeadLetterExporter({ core, pool, log, application: name, partitions })
    exporter.start()
    undo.push(() => exporter.stop())
  }
  await consumer.start()

  let stopping: Promise<void> | undefined
  async function stopAll(): Promise<void> {
    for (const step of undo.toReversed()) {
      await step().catch((error: unknown) =>
        core.logger.error({ error }, 'a part could not be stopped in good order'),
      )
    }
  }
  const alone = writer(env, autonomousSink(env), {})
  const within = (tx: Queryable | undefined): Writer =>
    tx === undefined ? alone : writer(env, directSink(env, tx, new Wakes()), {})
  const millrace: Millrace = {
    database: pool,
    log,
    get processId() {
      return heartbeat.id
    },
    get listening() {
      return listener.listening
    },
    get metricsUrl() {
      return endpoint?.url ?? null
    },
    transaction: (action) =>
      transaction(pool, core, (tx) => action(millraceTransaction(env, tx, {}))),
    publish: (definition, data, { tx, ...rest } = {}) => within(tx).publish(definition, data, rest),
    publishMany: (definition, data, { tx, ...rest } = {}) =>
      within(tx).publishMany(definition, data, rest),
    insert: (definition, args, { tx, ...rest } = {}) => within(tx).insert(definition, args, rest),
    insertMany: (definition, args, { tx, ...rest } = {}) =>
      within(tx).insertMany(definition, args, rest),
    summary: () => summarize(core, pool, log),
    async stop({ now: atOnce = false } = {}) {
      if (atOnce) now = true
      // What a slower stop is waiting for ends now.
      if (atOnce && stopping !== undefined)
        await Promise.all([consumer.stop({ now }), worker?.stop(0), relay?.stop({ now })])
      stopping ??= stopAll()
      await stopping
    },
    [Symbol.asyncDispose]: () => millrace.stop(),
  }
  return millrace
}

/** Where finished jobs go. Somebody else may be at it; a day that is missing is made by the first who needs it. */
async function makeHistoryDays(core: Core, pool: Pool): Promise<void> {
  await ensureHistoryDays({ core, pool }).catch((error: unknown) => {
    core.logger.debug({ error }, 'the days of history could not be made ahead just now')
  })
}
