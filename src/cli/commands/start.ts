import { configuredJobs, type MillraceConfig } from '../../app/config.ts'
import { explainDatabaseError } from '../../app/operator.ts'
import type { StartOptions } from '../../app/options.ts'
import type { Logger } from '../../core/logger.ts'
import type { LogLevel } from '../../index.ts'
import type { Command, CommandContext } from '../command.ts'
import { endConfiguredPool, profileLine, userOf } from '../connect.ts'
import { findDatabase } from '../database-url.ts'
import { shownError, usage } from '../errors.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { findLog } from '../find-log.ts'
import { nearest } from '../nearest.ts'
import { DATABASE_OPTIONS, WRITE_OPTIONS, type Arguments } from '../options.ts'

const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

/** Concurrency of a queue that is named without one. */
const QUEUE_CONCURRENCY = 10
/** How long something of the user's may keep the process alive after everything of ours has ended, in milliseconds. */
const LINGER_MS = 5_000
/** How long "now" may take, in milliseconds. */
const NOW_MS = 2_000

/** `millrace start` */
export const startCommand: Command = {
  summary: 'run the applications and jobs of the config until told to stop',
  options: {
    consumers: {
      type: 'string',
      value: 'a,b',
      help: 'only these applications; none: no application',
    },
    queues: {
      type: 'string',
      value: 'mail:10,default',
      help: 'only these queues, with their concurrency; none: no jobs',
    },
    name: {
      type: 'string',
      value: '<name>',
      help: 'name of this process, for people (default <host>:<pid>)',
    },
    metrics: {
      type: 'string',
      value: '[host:]port',
      help: 'serve figures for Prometheus there, at /metrics; 0: a free port, which the log names',
    },
    'log-level': {
      type: 'string',
      value: '<level>',
      help: `${LOG_LEVELS.join(', ')} (default info)`,
    },
    json: { type: 'boolean', help: 'with --dry-run: print what would be started as JSON' },
    ...WRITE_OPTIONS,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'The config is a module that exports `millrace`: export const millrace = defineConfig({ run: [search] })',
    'SIGTERM or SIGINT: finishes what is at hand, exit 0. A second one: stops at once, exit 130.',
    'Logs are lines of JSON on stderr.',
  ],
  examples: [
    'millrace start',
    'millrace start --consumers none --queues mail:10,default --name mailer-1',
  ],
  run: runStart,
}

async function runStart(context: CommandContext): Promise<ExitCode> {
  const { args, core, out } = context
  const level = args.word('log-level', LOG_LEVELS) ?? 'info'
  const { jsonLogger } = await import('../../index.ts')
  const write = (line: string): void => out.error(`${line}\n`)
  const logger = jsonLogger({ clock: core.clock, level, write })
  const found = await findDatabase({ ...context, config: 'needed' })
  const config: MillraceConfig = found.config?.millrace ?? {}
  const log = await findLog(context, found)
  try {
    const options = startOptions(config, args)
    const roles = {
      profile: profileLine(found, log?.kind ?? 'table', userOf(context)),
      applications: (options.run ?? []).map(({ name }) => name),
      queues: options.queues ?? 'all',
    }
    if (args.flag('dry-run')) {
      if (out.format === 'json') out.json(roles)
      else logger.info(roles, 'would start')
      return EXIT.ok
    }
    logger.info(roles, 'starting')
    const logged = {
      ...options,
      ...(log === undefined ? {} : { log }),
      database: found.database,
      logger: config.logger ?? logger,
    }
    const exitCode = await runUntilStopped(context, logged, logger).catch((error: unknown) => {
      // As one more line of the log: whoever reads lines of JSON should not have to read anything else.
      const {
        code,
        message,
        next,
        exitCode: failed,
      } = shownError(explainDatabaseError(error), 'start')
      logger.error({ code, next }, message)
      return failed
    })
    endIfKeptAlive(context, logger, exitCode)
    return exitCode
  } finally {
    await endConfiguredPool(found.config)
  }
}

/** Everything of ours has ended; something of the user's, an open socket or timer, may not keep the process for ever. */
function endIfKeptAlive({ core }: CommandContext, logger: Logger, exitCode: ExitCode): void {
  const afterMs = exitCode === EXIT.interrupted ? LINGER_MS / 10 : LINGER_MS
  core.clock.after(afterMs, () => {
    logger.warn({ afterMs }, 'something other than millrace keeps this process alive; ending it')
    process.exit(exitCode)
  })
}

async function runUntilStopped(
  context: CommandContext,
  options: StartOptions,
  logger: Logger,
): Promise<ExitCode> {
  const { start } = await import('../../index.ts')
  const { first, second } = context.interrupts({ twice: true })
  const millrace = await start(options)
  logger.info({ processId: millrace.processId }, 'started')
  await aborted(first)
  logger.info({}, 'stopping: finishing what is at hand; a second signal stops at once')
  const drained = millrace.stop()
  const inTime = await Promise.race([drained.then(() => true), aborted(second).then(() => false)])
  if (inTime) {
    logger.info({}, 'stopped')
    return EXIT.ok
  }
  logger.warn({}, 'stopping now; what was at hand is done again later')
  // A handler that does not listen to its signal must not make "now" take long; to be ended is no worse than a crash.
  await Promise.race([millrace.stop({ now: true }), context.core.clock.sleep(NOW_MS)])
  return EXIT.interrupted
}

/** Resolves when `signal` is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** What `start` is given: the config, narrowed by the command line. */
function startOptions(config: MillraceConfig, args: Arguments): Omit<StartOptions, 'database'> {
  const { events: _events, database: _database, ...options } = config
  const run = chosenApplications(config, args)
  const queues = chosenQueues(args)
  const name = args.text('name')
  const metrics = metricsPlace(args.text('metrics'))
  return {
    ...options,
    // Jobs of an application that runs elsewhere may still be executed here.
    ...(run === undefined ? {} : { run, jobs: configuredJobs(config) }),
    ...(queues === undefined ? {} : { queues }),
    ...(name === undefined ? {} : { name }),
    ...(metrics === undefined ? {} : { metrics }),
  }
}

function metricsPlace(text: string | undefined): StartOptions['metrics'] {
  if (text === undefined) return undefined
  const [, host, port] = /^(?:(.+):)?(\d{1,5})$/.exec(text) ?? []
  if (port === undefined || Number(port) > 65_535)
    throw usage(`--metrics: expected a port, or host:port, got '${text}'`)
  // As in a URL, brackets keep an address of version 6 apart from its port.
  const name = host?.replace(/^\[(.*)\]$/, '$1')
  return { port: Number(port), ...(name === undefined ? {} : { host: name }) }
}

function chosenApplications({ run = [] }: MillraceConfig, args: Arguments): StartOptions['run'] {
  const names = args.list('consumers')
  if (names === undefined) return undefined
  if (names.length === 1 && names[0] === 'none') return []
  return names.map((name) => {
    const application = run.find((one) => one.name === name)
    if (application !== undefined) return application
    const known = run.map((one) => one.name)
    const meant = nearest(name, known)
    throw usage(
      `--consumers: the config has no application '${name}'. ${meant === undefined ? `It has: ${known.join(', ') || 'none'}` : `Did you mean '${meant}'?`}`,
    )
  })
}

function chosenQueues(args: Arguments): StartOptions['queues'] {
  const parts = args.list('queues')
  if (parts === undefined) return undefined
  if (parts.length === 1 && parts[0] === 'none') return false
  return Object.fromEntries(
    parts.map((part) => {
      const [, queue, concurrency] = /^(.+?)(?::(\d{1,5}))?$/.exec(part) ?? []
      if (queue === undefined || queue.includes(':'))
        throw usage(`--queues: expected name or name:concurrency, got '${part}'`)
      return [queue, concurrency === undefined ? QUEUE_CONCURRENCY : Number(concurrency)]
    }),
  )
}
