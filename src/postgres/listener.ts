import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import type { Queryable } from './queryable.ts'
import type { Pool, PoolClient } from './pool.ts'

/** The one channel of millrace. A payload is `<subject>` or `<subject>:<text>`. */
const CHANNEL = 'millrace'

/** What a wake-up is about. */
export type WakeSubject =
  /** Jobs may be claimed: `<lowest place>:<queue>`. */
  | 'jobs'
  /** Running jobs are to be cancelled: comma-separated ids. */
  | 'cancel'
  /** Records were appended: comma-separated topic ids. */
  | 'log'
  /** Partitions were released or processes came or went: an application's name. */
  | 'owners'
  /** Records were written to the outbox: comma-separated shards. */
  | 'outbox'
  /** Replays were ordered, or may go on. */
  | 'replay'

/** Options of {@link Listener}. */
export interface ListenerOptions {
  readonly core: Core
  /** One of its connections is kept for listening, as long as the listener runs. */
  readonly pool: Pool
  /** Time between two self-pings, in milliseconds. Default 5,000. A ping that does not come back within it degrades. */
  readonly pingMs?: number
}

/**
 * The one listening connection of a process. NOTIFY only wakes; polling decides, so losing one costs time, never work.
 *
 * Modes: connecting → listening ⇄ degraded → stopped. Degraded: nothing arrives (no connection, or a pooler in
 * transaction mode, which swallows notifications without a word); everything goes on by polling. A self-ping tells the
 * two apart and leads back. Both are logged, once each, however often it is tried in between.
 */
export class Listener {
  readonly #core: Core
  readonly #pool: Pool
  readonly #subscribers = new Map<WakeSubject, Set<(text: string) => void>>()
  readonly #loop: Loop
  readonly #pingMs: number
  #client: PoolClient | undefined
  #awaited: string | undefined
  #listening = false
  #saidDegraded = false

  constructor(options: ListenerOptions) {
    this.#core = options.core
    this.#pool = options.pool
    this.#pingMs = options.pingMs ?? 5_000
    this.#loop = createLoop({
      clock: options.core.clock,
      intervalMs: this.#pingMs,
      turn: () => this.#turn(),
      onError: (error) => {
        this.#degrade(error)
      },
    })
  }

  /** Whether wake-ups arrive. `false`: everything still works, by polling. */
  get listening(): boolean {
    return this.#listening
  }

  /** Calls `onWake` with the text of every wake-up about `subject`; the returned function ends that. */
  on(subject: WakeSubject, onWake: (text: string) => void): () => void {
    const set = this.#subscribers.get(subject) ?? new Set()
    this.#subscribers.set(subject, set)
    set.add(onWake)
    return () => {
      set.delete(onWake)
    }
  }

  start(): void {
    this.#loop.start()
  }

  async stop(): Promise<void> {
    await this.#loop.stop()
    this.#drop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #turn(): Promise<number | undefined> {
    if (this.#client === undefined) {
      await this.#connect()
    } else if (this.#awaited !== undefined) {
      // The last ping has not come back.
      this.#degrade(
        new Error(
          'a self-ping did not come back: a pooler in transaction mode, or a dead connection',
        ),
      )
      return undefined
    }
    this.#awaited = this.#core.ids.uuid()
    await this.#pool.query('/* millrace:ping */ select pg_notify($1, $2)', [
      CHANNEL,
      `ping:${this.#awaited}`,
    ])
    return undefined
  }

  async #connect(): Promise<void> {
    const client = await this.#pool.connect()
    this.#client = client
    client.on('error', (error) => {
      if (this.#client === client) this.#degrade(error)
    })
    client.on('end', () => {
      if (this.#client === client) this.#degrade(new Error('the listening connection ended'))
    })
    client.on('notification', ({ channel, payload }) => {
      if (channel === CHANNEL && this.#client === client) this.#receive(payload ?? '')
    })
    await client.query(`/* millrace:listen */ listen ${CHANNEL}`)
  }

  #receive(payload: string): void {
    const colon = payload.indexOf(':')
    const subject = colon < 0 ? payload : payload.slice(0, colon)
    const text = colon < 0 ? '' : payload.slice(colon + 1)
    if (subject === 'ping') {
      if (text !== this.#awaited) return
      this.#awaited = undefined
      if (!this.#listening) {
        this.#listening = true
        if (this.#saidDegraded) this.#core.logger.info({}, 'wake-ups arrive again')
        this.#saidDegraded = false
        // Whatever was said while nobody listened is lost: let everybody look once.
        for (const set of this.#subscribers.values()) for (const onWake of set) onWake('')
      }
      return
    }
    for (const onWake of this.#subscribers.get(subject as WakeSubject) ?? []) onWake(text)
  }

  #degrade(error: unknown): void {
    if (!this.#saidDegraded) {
      this.#saidDegraded = true
      this.#core.logger.warn(
        { error },
        'no wake-ups arrive: polling only, until listening works again',
      )
    }
    this.#drop()
  }

  #drop(): void {
    const client = this.#client
    this.#client = undefined
    this.#awaited = undefined
    this.#listening = false
    // Never back into the pool: a session that listens is not like the others.
    client?.release(true)
  }
}

/** Sends a wake-up. Not inside a transaction: a NOTIFY there takes a lock of the whole server at commit. */
export async function wake(db: Queryable, subject: WakeSubject, text = ''): Promise<void> {
  // A wake-up need not survive a crash, so nobody waits for the disk.
  await db.query(
    "/* millrace:wake */ select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)",
    [CHANNEL, text === '' ? subject : `${subject}:${text}`],
  )
}
