import type { AlertOptions } from '../alerts/webhook.ts'
import type { Application } from '../consumer/application.ts'
import type { Core } from '../core/core.ts'
import type { Logger } from '../core/logger.ts'
import { Problems, isWhole } from '../errors/config.ts'
import type { AnyJobDefinition } from '../jobs/job.ts'
import type { LogFactory } from '../log/factory.ts'
import type { MetricsOptions } from '../metrics/endpoint.ts'
import type { Pool } from '../postgres/pool.ts'

/** Options of `start`. */
export interface StartOptions {
  /** Where jobs, positions and, by default, the log live: a pool that you have, or a URL. */
  readonly database: Pool | string
  /** Most connections of the pool made for a URL. Default 10. Two more listen and keep the heartbeat. Bounds 3 … 1,000. */
  readonly poolSize?: number
  /** Where events are. Default: the table log, in the same database. */
  readonly log?: LogFactory
  /** The applications that this process runs. Default none. */
  readonly run?: readonly Application[]
  /** Kinds of jobs that this process executes, beside those its applications make. Default none. */
  readonly jobs?: readonly AnyJobDefinition[]
  /**
   * Concurrency per queue. Default 10 for every queue that a known kind names. `false`: this process executes no jobs.
   * Bounds 1 … 1,000.
   */
  readonly queues?: Readonly<Record<string, number>> | false
  /** Topics to make if they are missing, with their number of partitions. Topics of `run` are made with `partitions`. */
  readonly topics?: Readonly<Record<string, { readonly partitions: number }>>
  /** Partitions of topics that are made without being named in `topics`. Default 6. Bounds 1 … 1,024. */
  readonly partitions?: number
  /** Whether to migrate the database first. Default `true`. */
  readonly migrate?: boolean
  /** Whether this process may be the one that does the upkeep (staging, rescue, pruning). Default `true`. */
  readonly upkeep?: boolean
  /**
   * Whether this process may move events from the outbox into the log, on a log that cannot take part in a transaction of the
   * database. Default `true`. Without any such process, events stay in the outbox.
   */
  readonly relay?: boolean
  /**
   * Shards of the outbox. Each is moved by one process at a time, and what has one topic and key is in one shard. A setting of
   * the database: the last process that names a number decides, and what is in the shards of before is moved first, so that
   * no order breaks. Default: left as it is, 4 at first. Bounds 1 … 16.
   */
  readonly outboxShards?: number
  /** Days for which finished jobs and batches are kept. Default 7. Bounds 1 … 3,650. */
  readonly historyDays?: number
  /** Version of the deployed code, stamped on dead letters. */
  readonly codeVersion?: string
  /** Name of this process, for people. Default `<host>:<pid>`. */
  readonly name?: string
  /** Silence after which others take over what this process holds, in milliseconds. Default 15,000. Bounds 150 … 600,000. */
  readonly takeOverMs?: number
  /** Time between two heartbeats, in milliseconds. Default 2,000, at most a third of `takeOverMs`. */
  readonly heartbeatMs?: number
  /** How long `stop` lets running jobs finish, in milliseconds. Default 10,000. Bounds 0 … 3,600,000. */
  readonly stopMs?: number
  /**
   * Serve the figures of the whole installation at `/metrics`, for Prometheus, with `/livez` and `/readyz` beside them. Default:
   * no port is opened. Every process that serves them tells the same.
   */
  readonly metrics?: MetricsOptions
  /**
   * Who is to be told of failures never seen before: once per application and fingerprint, at least; several at once in one
   * message. The process that does the upkeep tells it, so give it to all that may. Default: nobody.
   */
  readonly alerts?: AlertOptions
  /**
   * Where the log lines go; pino's loggers fit as they are. Default: warnings and errors to stderr, as lines of JSON. For none:
   * a logger whose methods do nothing.
   */
  readonly logger?: Logger
  /** Time, chance and ids; for tests. */
  readonly core?: Partial<Core>
}

/** @throws E_CONFIG_INVALID naming everything that is wrong. */
export function checkStartOptions(options: StartOptions): void {
  const problems = new Problems('start')
  const whole = (option: keyof StartOptions, min: number, max: number): void => {
    const value = options[option]
    problems.expect(
      value === undefined || isWhole(value, min, max),
      option,
      `a whole number from ${min} to ${max}`,
      value,
    )
  }
  const { database } = options
  const isUrl = typeof database === 'string' && /^postgres(ql)?:\/\//.test(database)
  problems.expect(
    isUrl || (typeof database === 'object' && typeof database?.query === 'function'),
    'database',
    'a pg pool, or a URL that begins with postgres://',
    typeof database === 'string' && database !== '' ? 'another text' : database,
  )
  whole('poolSize', 3, 1_000)
  whole('partitions', 1, 1_024)
  whole('historyDays', 1, 3_650)
  whole('stopMs', 0, 3_600_000)
  whole('outboxShards', 1, 16)
  if (options.metrics !== undefined) {
    const { port, host } = options.metrics
    problems.expect(
      isWhole(port, 0, 65_535),
      'metrics.port',
      'a whole number from 0 to 65535',
      port,
    )
    problems.expect(
      host === undefined || (typeof host === 'string' && host.trim() !== ''),
      'metrics.host',
      'an address to listen on',
      host,
    )
  }
  if (options.alerts !== undefined) checkAlerts(options.alerts, problems)
  for (const [name, { partitions }] of Object.entries(options.topics ?? {})) {
    problems.expect(
      isWhole(partitions, 1, 1_024),
      `topics.${name}.partitions`,
      'a whole number from 1 to 1024',
      partitions,
    )
  }
  for (const [queue, concurrency] of Object.entries(
    options.queues === false ? {} : (options.queues ?? {}),
  )) {
    problems.expect(
      isWhole(concurrency, 1, 1_000),
      `queues.${queue}`,
      'a whole number from 1 to 1000',
      concurrency,
    )
  }
  const names = (options.run ?? []).map(({ name }) => name)
  problems.expect(
    new Set(names).size === names.length,
    'run',
    'applications of different names',
    names,
  )
  problems.throwIfAny()
}

/** Says nothing of what is wrong with an address or a header: both may be secret. */
function checkAlerts({ webhook, headers, timeoutMs }: AlertOptions, problems: Problems): void {
  const url = typeof webhook === 'string' ? URL.parse(webhook) : null
  problems.expect(
    url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '',
    'alerts.webhook',
    'a URL that begins with https:// or http://, without user and password',
    typeof webhook === 'string' ? 'another text' : typeof webhook,
  )
  problems.expect(
    headers === undefined || areHeaders(headers),
    'alerts.headers',
    'names and values that HTTP can carry',
    'others',
  )
  problems.expect(
    timeoutMs === undefined || isWhole(timeoutMs, 100, 60_000),
    'alerts.timeoutMs',
    'a whole number from 100 to 60000',
    timeoutMs,
  )
}

function areHeaders(headers: Readonly<Record<string, string>>): boolean {
  try {
    return [...new Headers(headers)].length >= 0
  } catch {
    // It names the value; that is nobody's business.
    return false
  }
}
