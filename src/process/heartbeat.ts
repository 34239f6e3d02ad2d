import { hostname } from 'node:os'
import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { Problems, isWhole } from '../errors/config.ts'
import type { Pool } from '../postgres/pool.ts'

/** Options of {@link Heartbeat}. */
export interface HeartbeatOptions {
  readonly core: Core
  readonly pool: Pool
  /** Applications this process runs. */
  readonly applications: readonly string[]
  /** What they read, each made by {@link readName}; partitions are shared out over the processes that name them. Default nothing. */
  readonly reads?: readonly string[]
  /** Whether it relays the outbox; its shards are shared out among the processes that do. Default `false`. */
  readonly relays?: boolean
  /** Shown to people. Default `<host>:<pid>`. Never an identity: that is a fresh random id per start. */
  readonly name?: string
  /** Version of the deployed code, stamped on dead letters. */
  readonly codeVersion?: string
  /** Time between two heartbeats, in milliseconds. Default 2,000. Bounds 50 … `takeOverMs` / 3. */
  readonly heartbeatMs?: number
  /** Silence after which others take over what this process holds, in milliseconds. Default 15,000. Bounds 150 … 600,000. */
  readonly takeOverMs?: number
}

/**
 * One row that says this process lives, renewed in database time.
 *
 * A row that has lapsed never comes back: its renewal is refused, this process takes a new id and everything it held
 * under the old one is somebody else's. So whoever sees a lapsed row may take over without asking.
 *
 * The heartbeat runs on the main event loop on purpose: one that ran on while the loop is stuck would lie.
 */
export class Heartbeat {
  readonly #options: Required<Pick<HeartbeatOptions, 'heartbeatMs' | 'takeOverMs' | 'name'>> &
    HeartbeatOptions
  readonly #loop: Loop
  readonly #onLapse = new Set<() => void>()
  #id: string | undefined
  #startedMs = 0
  #renewedAt = 0
  #others = 0
  /** Takes back what is said when no heartbeat gets through any more. */
  #noSilence: () => void = () => {}

  /** @throws E_CONFIG_INVALID */
  constructor(options: HeartbeatOptions) {
    const takeOverMs = options.takeOverMs ?? 15_000
    const heartbeatMs = options.heartbeatMs ?? Math.min(2_000, Math.floor(takeOverMs / 3))
    const problems = new Problems('the process')
    problems.expect(
      isWhole(takeOverMs, 150, 600_000),
      'takeOverMs',
      'a whole number from 150 to 600000',
      takeOverMs,
    )
    problems.expect(
      isWhole(heartbeatMs, 50, Math.floor(takeOverMs / 3)),
      'heartbeatMs',
      `a whole number from 50 to a third of takeOverMs (${takeOverMs})`,
      heartbeatMs,
    )
    problems.throwIfAny()
    this.#options = {
      ...options,
      heartbeatMs,
      takeOverMs,
      name: options.name ?? `${hostname()}:${process.pid}`,
    }
    this.#loop = createLoop({
      clock: options.core.clock,
      intervalMs: heartbeatMs,
      turn: () => this.#renew(),
      onError: (error) => options.core.logger.warn({ error }, 'the heartbeat could not be written'),
    })
  }

  /** The id of this process now. Random per start, and anew after a lapse. */
  get id(): string {
    if (this.#id === undefined) throw new Error('the heartbeat has not been started')
    return this.#id
  }

  /** Shown to people. */
  get name(): string {
    return this.#options.name
  }

  get takeOverMs(): number {
    return this.#options.takeOverMs
  }

  /**
   * Whether this process may still act under its id, by its own monotonic clock: false once no heartbeat has got
   * through for two thirds of the take-over time, which is before the database lets anybody else in.
   */
  get alive(): boolean {
    return (
      this.#id !== undefined &&
      this.#options.core.clock.monotonicMs() - this.#renewedAt < this.#aliveMs
    )
  }

  /** Whether no other process was alive at the last heartbeat. */
  get alone(): boolean {
    return this.#others === 0
  }

  get #aliveMs(): number {
    return (this.#options.takeOverMs * 2) / 3
  }

  /** Calls `onLapse` after the id has changed because the old one had lapsed. */
  onLapse(onLapse: () => void): () => void {
    this.#onLapse.add(onLapse)
    return () => {
      this.#onLapse.delete(onLapse)
    }
  }

  /** Registers the process, then keeps it alive. */
  async start(): Promise<void> {
    this.#startedMs = this.#options.core.clock.monotonicMs()
    await this.#register()
    this.#loop.start()
  }

  /** Ends the heartbeat and takes the row away: whatever is still held may be taken over at once. */
  async stop(): Promise<void> {
    await this.#loop.stop()
    this.#noSilence()
    const id = this.#id
    this.#id = undefined
    if (id === undefined) return
    await this.#options.pool
      .query('/* millrace:process-leave */ delete from millrace.process where id = $1', [id])
      .catch((error: unknown) =>
        this.#options.core.logger.warn({ error }, 'could not sign off; the row lapses by itself'),
      )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #register(): Promise<void> {
    const { core, pool, name, codeVersion, applications, takeOverMs } = this.#options
    const { reads = [], relays = false } = this.#options
    const id = core.ids.uuid()
    const askedAt = core.clock.monotonicMs()
    const { rows } = await pool.query<{ others: number }>(
      `/* millrace:process-register */ insert into millrace.process (id, name, code_version, applications, reads, relays, expires_at, started_at)
       values ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7 * interval '1 millisecond', clock_timestamp() - $8 * interval '1 millisecond')
       returning ${OTHERS_SQL}`,
      // Under a new id it is as old as it was.
      [
        id,
        name,
        codeVersion ?? null,
        applications,
        reads,
        relays,
        takeOverMs,
        askedAt - this.#startedMs,
      ],
    )
    this.#id = id
    this.#renewed(askedAt, rows[0]?.others ?? 0)
  }

  /** Each silence is told of once: only what gets through makes the next one possible. */
  #renewed(askedAt: number, others: number): void {
    const { clock, logger } = this.#options.core
    this.#renewedAt = askedAt
    this.#others = others
    this.#noSilence()
    this.#noSilence = clock.after(askedAt + this.#aliveMs - clock.monotonicMs(), () => {
      const silentMs = Math.round(clock.monotonicMs() - askedAt)
      logger.warn({ processId: this.#id, silentMs }, HOLDS_STILL)
    })
  }

  async #renew(): Promise<undefined> {
    const { core, pool, takeOverMs } = this.#options
    // Taken before the statement: the database's time starts no earlier than ours.
    const askedAt = core.clock.monotonicMs()
    const { rows } = await pool.query<{ others: number }>(
      `/* millrace:process-heartbeat */ update millrace.process
       set heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + $2 * interval '1 millisecond'
       where id = $1 and expires_at > clock_timestamp()
       returning ${OTHERS_SQL}`,
      [this.#id, takeOverMs],
    )
    const [renewed] = rows
    if (renewed !== undefined) {
      this.#renewed(askedAt, renewed.others)
      return undefined
    }
    core.logger.warn(
      { processId: this.#id },
      'this process was silent for too long and has been replaced; it goes on under a new id',
    )
    await this.#register()
    for (const onLapse of this.#onLapse) onLapse()
    return undefined
  }
}

const HOLDS_STILL =
  'no heartbeat has got through for too long: this process holds still until one does'

/** The ids of the processes that are alive, in database time. */
export const LIVE_PROCESSES_SQL = `select id from millrace.process where expires_at > clock_timestamp()`

const OTHERS_SQL = `(select count(*)::int from (${LIVE_PROCESSES_SQL}) live where live.id <> $1) as others`

/** How a process says that it reads a topic for an application. */
export function readName(application: string, topic: string): string {
  return `${application}/${topic}`
}
