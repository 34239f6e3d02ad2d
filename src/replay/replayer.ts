import { StopReason } from '../core/abort.ts'
import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import type { Application } from '../consumer/application.ts'
import { bindApplication, type BoundApplication } from '../consumer/bind.ts'
import type { HandlerEnvironment } from '../consumer/handler.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log } from '../log/port.ts'
import { wake, type Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import { LIVE_PROCESSES_SQL, type Heartbeat } from '../process/heartbeat.ts'
import { replayOf, REPLAY_COLUMNS, type Replay, type ReplayRow } from './replay.ts'
import { runReplay } from './replay-run.ts'
import type { RetryJobs } from './replay-work.ts'

/** Options of {@link Replayer}. */
export interface ReplayerOptions {
  readonly core: Core
  readonly pool: Pool
  readonly log: Log
  readonly heartbeat: Heartbeat
  readonly listener: Listener
  readonly waker: HandlerEnvironment['waker']
  readonly codeVersion: string | null
  readonly applications: readonly Application[]
  readonly retryJobs: RetryJobs
  /** Time between two looks for replays, in milliseconds. Default 1,000. */
  readonly idleMs?: number
}

/** Most replays that one process works on at the same time. */
const MOST = 4
/** After an error that is nobody's fault, it is tried again after so many milliseconds. */
const AGAIN_MS = 1_000

/**
 * Applications of which another version lives than the version `$4`, whose first living process started later than the first
 * of that.
 */
const OUTDATED_SQL = `select application from (
    select a.application, p.code_version, min(p.started_at) as since
    from millrace.process p, unnest(p.applications) a(application)
    where p.expires_at > clock_timestamp() and a.application = any ($2) group by 1, 2
  ) v group by application
  having max(since) filter (where code_version is distinct from $4)
    > min(since) filter (where code_version is not distinct from $4)`

/**
 * Works through the replays of this process' applications, with the handlers that are deployed in it. Whoever takes one
 * first has it, until its heartbeat lapses; every chunk is fenced by its epoch.
 *
 * While a deploy replaces processes, two versions of the code live side by side. The one that was started last takes the
 * replays: what is ordered then is ordered for the fix. When its processes are gone, the others take them; who rolls back
 * pauses a replay until then. Processes that do not say their version are one version.
 */
export class Replayer {
  readonly #options: ReplayerOptions
  readonly #bound = new Map<string, BoundApplication>()
  readonly #loop: Loop
  readonly #running = new Map<bigint, Promise<void>>()
  readonly #stopping = new AbortController()
  #off: () => void = () => {}

  constructor(options: ReplayerOptions) {
    this.#options = options
    for (const application of options.applications)
      this.#bound.set(application.name, bindApplication(application, options))
    this.#loop = createLoop({
      clock: options.core.clock,
      intervalMs: options.idleMs ?? 1_000,
      turn: () => this.#turn(),
      onError: (error) =>
        options.core.logger.warn(
          { error: describeError(error) },
          'replays could not be looked for',
        ),
    })
  }

  start(): void {
    this.#off = this.#options.listener.on('replay', () => this.#loop.wake())
    this.#loop.start()
  }

  /** Rolls the chunks at hand back, and gives the replays back. */
  async stop(): Promise<void> {
    this.#off()
    this.#stopping.abort(new StopReason())
    await this.#loop.stop()
    await Promise.all(this.#running.values())
  }

  async #turn(): Promise<undefined> {
    const { heartbeat } = this.#options
    while (heartbeat.alive && this.#running.size < MOST) {
      const processId = heartbeat.id
      const replay = await this.#take(processId)
      if (replay === undefined) return undefined
      const run = this.#run(replay, processId).finally(() => {
        this.#running.delete(replay.id)
        this.#loop.wake()
      })
      this.#running.set(replay.id, run)
    }
    return undefined
  }

  /** One that nobody who lives works on; also one of ours that we do not: it could not be given back, or its taking was not heard. */
  async #take(processId: string): Promise<Replay | undefined> {
    const { rows } = await this.#options.pool.query<ReplayRow>(
      `/* millrace:replay-take */ update millrace.replay r
       set owner = $1, epoch = epoch + 1, started_at = coalesce(started_at, clock_timestamp()), updated_at = clock_timestamp()
       where id = (
         select id from millrace.replay
         where state = 'running' and (application is null or application = any ($2)) and id <> all ($3::bigint[])
           and (owner is null or owner = $1 or owner not in (${LIVE_PROCESSES_SQL}))
           and coalesce(application not in (${OUTDATED_SQL}), true)
         order by id limit 1 for update skip locked)
       returning ${REPLAY_COLUMNS}`,
      [
        processId,
        [...this.#bound.keys()],
        [...this.#running.keys()].map(String),
        this.#options.codeVersion,
      ],
    )
    return rows[0] === undefined ? undefined : replayOf(rows[0])
  }

  async #run(replay: Replay, processId: string): Promise<void> {
    const { core, pool, codeVersion, retryJobs, heartbeat } = this.#options
    const { logger, clock } = core
    const { signal } = this.#stopping
    const fields = { replay: String(replay.id), application: replay.application }
    const bound = replay.application === null ? undefined : this.#bound.get(replay.application)
    const whenAlive = async (until: AbortSignal): Promise<void> => {
      while (!heartbeat.alive) await clock.sleep(50, { signal: until })
    }
    logger.info({ ...fields, dryRun: replay.dryRun }, 'a replay is worked on')
    try {
      const environment = { core, pool, codeVersion, whenAlive }
      await runReplay({ replay, bound, environment, processId, retryJobs }, signal)
      logger.info(fields, 'a replay has ended')
    } catch (error) {
      if (!signal.aborted && isMillraceError(error) && error.code === 'E_CONSUMER_NOT_OWNER') {
        logger.info(fields, error.message)
        return
      }
      if (!signal.aborted) {
        logger.warn(
          { ...fields, error: describeError(error) },
          'a replay failed; it is taken up again',
        )
        await clock.sleep(AGAIN_MS, { signal }).catch(() => {})
      }
      await this.#giveBack(replay, processId)
    }
  }

  /** So that others need not wait until our heartbeat lapses. */
  async #giveBack({ id, epoch }: Replay, processId: string): Promise<void> {
    const { core, pool } = this.#options
    try {
      await pool.query(
        '/* millrace:replay-give-back */ update millrace.replay set owner = null where id = $1 and owner = $2 and epoch = $3',
        [id, processId, epoch],
      )
      await wake(pool, 'replay')
    } catch (error) {
      core.logger.debug({ error }, 'a replay could not be given back; it is taken over')
    }
  }
}
