import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { isWhole, Problems } from '../errors/config.ts'
import type { RelayLog } from '../log/relay-port.ts'
import type { Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import { prune } from './prune.ts'
import { ShardRelay } from './shard-relay.ts'
import {
  DEFAULT_LEASE_MS,
  LOOKS_PER_LEASE,
  readShards,
  releaseShard,
  renewShards,
  shardsWithRecords,
  takeShards,
  type Shard,
  type Shards,
} from './shards.ts'

/** A segment that is not full is ended after so many looks at what may be pruned. */
const ROTATE_TURNS = 12

/** Options of {@link Relay}. */
export interface RelayOptions {
  readonly core: Core
  /** Uses one of its connections per shard, for a moment each, and one for itself. */
  readonly pool: Pool
  readonly log: RelayLog
  /** Started by whoever made it, and saying that this process relays. */
  readonly heartbeat: Pick<Heartbeat, 'id' | 'alive' | 'onLapse'>
  readonly listener: Listener
  /**
   * How long a relay that is silent keeps its shards, in milliseconds. Renewed at a fifth of it, which is also how often free
   * shards are looked for: a shard is taken over within six fifths. Default 7,500, so within 9,000, while the log lets a
   * transaction be open for 10,000. Bounds 300 … 600,000.
   */
  readonly leaseMs?: number
  /** Time between two looks for records that nobody announced, in milliseconds. Default 100. Bounds 10 … 10,000. */
  readonly pollMs?: number
  /** Most records of one transaction of the log, which belongs to one shard. Default 2,000. Bounds 1 … 10,000. */
  readonly batchRecords?: number
  /** Most bytes of it. Default 8,388,608. Bounds 1 … 67,108,864. The first record is always taken. */
  readonly batchBytes?: number
  /** Time between two looks at what may be pruned, in milliseconds. Default 5,000. Bounds 10 … 600,000. */
  readonly pruneMs?: number
}

/**
 * Moves what the outbox holds into the log: nothing lost, doubled or, per key, out of order, however often relays are killed.
 *
 * Shards are shared out among the processes that relay, by leases in database time. A lease only saves the fight: who may
 * write is decided by the log, which shuts out all but the one who came last, and how far a shard is, is in the log as well,
 * in the transaction of its records.
 *
 * Modes: new → (start) → running → (stop) → stopped. Running holds its share of the shards, one {@link ShardRelay} each.
 */
export class Relay {
  readonly #options: Required<RelayOptions>
  readonly #leases: Loop
  readonly #polls: Loop
  readonly #prunes: Loop
  readonly #relays = new Map<number, ShardRelay>()
  /** Those that are on their way out, by shard. */
  readonly #ending = new Map<
    number,
    { readonly relay: ShardRelay; readonly ended: Promise<void> }
  >()
  #first = 0
  /** By the monotonic clock: until when our shards are ours. */
  #heldUntilMs = Number.NEGATIVE_INFINITY
  #pruned = 0
  /** Whether nothing is waited for any more. */
  #now = false
  /** Whether wake-ups arrived when we looked last. */
  #heard = false
  #off: (() => void)[] = []

  /** @throws E_CONFIG_INVALID */
  constructor(options: RelayOptions) {
    const { leaseMs = DEFAULT_LEASE_MS, pollMs = 100, pruneMs = 5_000 } = options
    const { batchRecords = 2_000, batchBytes = 8_388_608 } = options
    const problems = new Problems('relay')
    const whole = (name: string, value: number, min: number, max: number): void =>
      problems.expect(isWhole(value, min, max), name, `a whole number from ${min} to ${max}`, value)
    whole('leaseMs', leaseMs, 300, 600_000)
    whole('pollMs', pollMs, 10, 10_000)
    whole('pruneMs', pruneMs, 10, 600_000)
    whole('batchRecords', batchRecords, 1, 10_000)
    whole('batchBytes', batchBytes, 1, 67_108_864)
    problems.throwIfAny()
    this.#options = { ...options, leaseMs, pollMs, pruneMs, batchRecords, batchBytes }
    const { clock, logger } = options.core
    this.#leases = createLoop({
      clock,
      intervalMs: Math.floor(leaseMs / LOOKS_PER_LEASE),
      turn: () => this.#lease(),
      onError: (error) => {
        logger.warn({ error }, 'shards of the outbox could not be asked for')
        this.#doubt()
      },
    })
    this.#polls = createLoop({
      clock,
      intervalMs: pollMs,
      turn: () => this.#poll(),
      onError: (error) => {
        logger.debug({ error }, 'the outbox could not be looked at')
        this.#doubt()
      },
    })
    this.#prunes = createLoop({
      clock,
      intervalMs: pruneMs,
      turn: () => this.#prune(),
      onError: (error) => logger.warn({ error }, 'the outbox could not be pruned'),
    })
  }

  start(): void {
    const { pool, heartbeat, listener } = this.#options
    const onBroken = (): void => this.#doubt()
    pool.on('error', onBroken)
    this.#off = [
      () => pool.off('error', onBroken),
      // All that we held is somebody else's by now.
      heartbeat.onLapse(() => {
        this.#heldUntilMs = Number.NEGATIVE_INFINITY
        this.#leases.wake()
      }),
      listener.on('outbox', (text) => this.#wake(text)),
    ]
    for (const loop of [this.#leases, this.#polls, this.#prunes]) loop.start()
  }

  /**
   * Ends after the batches that are on their way, and gives the shards back. A log that does not answer is waited for 5 s; with
   * `now`, also while a slower stop is under way, not at all.
   */
  async stop({ now = false }: { readonly now?: boolean } = {}): Promise<void> {
    this.#now ||= now
    for (const off of this.#off) off()
    this.#off = []
    await Promise.all([this.#leases.stop(), this.#polls.stop(), this.#prunes.stop()])
    for (const relay of this.#relays.values()) this.#end(relay, true)
    await Promise.all(
      [...this.#ending.values()].map(async ({ relay, ended }) => {
        await relay.stop({ now: this.#now })
        await ended
      }),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #lease(): Promise<undefined> {
    const { core, pool, heartbeat, leaseMs } = this.#options
    if (!heartbeat.alive) return
    const askedMs = core.clock.monotonicMs()
    const owner = heartbeat.id
    const held = [...this.#relays.values()].map((relay) => relay.held)
    const kept = new Set(held.length === 0 ? [] : await renewShards(pool, owner, held, leaseMs))
    this.#heldUntilMs = askedMs + leaseMs
    for (const relay of this.#relays.values()) {
      if (relay.retired || !kept.has(relay.shard)) this.#end(relay, false)
    }
    const shards = await readShards(pool, leaseMs)
    this.#first = shards.layout.first
    for (const { shard, accepted } of shards.shards) {
      if (accepted !== null) this.#relays.get(shard)?.reconsider()
    }
    await this.#share(owner, shards)
  }

  /** Takes free shards up to a fair share, and gives back what is above it. */
  async #share(owner: string, { relays, shards }: Shards): Promise<void> {
    const { core, pool, leaseMs } = this.#options
    // What comes after a change of the shards waits for all that came before it; there may be several changes.
    const open = shards.filter(({ layout }) => layout === shards[0]?.layout)
    const share = Math.ceil(open.length / Math.max(1, relays))
    for (const relay of [...this.#relays.values()].slice(share)) this.#end(relay, true)
    const free = open.filter(
      ({ owner: other, shard }) =>
        other === null && !this.#relays.has(shard) && !this.#ending.has(shard),
    )
    const wanted = free.slice(0, share - this.#relays.size).map(({ shard }) => shard)
    if (wanted.length === 0) return
    for (const taken of await takeShards(pool, owner, wanted, leaseMs)) this.#take(taken)
    core.logger.debug({ shards: [...this.#relays.keys()] }, 'shards of the outbox are held')
  }

  #take({ shard, epoch }: Shard): void {
    const { core, pool, log, heartbeat, batchRecords, batchBytes } = this.#options
    const processId = heartbeat.id
    const relay = new ShardRelay({
      core,
      pool,
      log,
      held: { shard, epoch },
      mayRelay: () =>
        core.clock.monotonicMs() < this.#heldUntilMs &&
        heartbeat.alive &&
        heartbeat.id === processId,
      superseded: () => shard < this.#first,
      batchRecords,
      batchBytes,
    })
    this.#relays.set(shard, relay)
    relay.start()
  }

  /** Stops a relay without waiting for it: a log that hangs must not cost us the other shards. */
  #end(relay: ShardRelay, release: boolean): void {
    const { core, pool } = this.#options
    const { shard, held } = relay
    this.#relays.delete(shard)
    const ended = relay
      .stop({ now: this.#now })
      .then(() => (release ? releaseShard(pool, held) : undefined))
      .catch((error: unknown) =>
        core.logger.debug({ error, shard }, 'a shard could not be given back; its lease runs out'),
      )
      .finally(() => this.#ending.delete(shard))
    this.#ending.set(shard, { relay, ended })
  }

  /** After a connection broke: who answers now may be a replica that lagged when it took the database's place. */
  #doubt(): void {
    for (const relay of this.#relays.values()) relay.doubt()
  }

  #wake(text: string): void {
    if (text === '') {
      // Among others when we listen again, after the connection was lost.
      this.#doubt()
      this.#leases.wake()
    } else {
      for (const shard of text.split(',')) this.#relays.get(Number(shard))?.wake()
    }
  }

  async #poll(): Promise<undefined> {
    const { listening } = this.#options.listener
    if (this.#heard && !listening) this.#doubt()
    this.#heard = listening
    const idle = [...this.#relays.values()].flatMap(({ shard, behind }) =>
      behind === undefined ? [] : [{ shard, behind }],
    )
    if (idle.length === 0) return
    for (const shard of await shardsWithRecords(this.#options.pool, idle)) {
      this.#relays.get(shard)?.wake()
    }
  }

  async #prune(): Promise<undefined> {
    if (this.#relays.size === 0) return
    const { core, pool } = this.#options
    this.#pruned += 1
    await prune({ core, pool }, { rotate: this.#pruned % ROTATE_TURNS === 0 })
  }
}
