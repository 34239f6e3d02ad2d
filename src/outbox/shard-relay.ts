import type { Core } from '../core/core.ts'
import { failpoint } from '../core/failpoint.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { storableText } from '../core/storable-text.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import { HEADER, MAX_ID_LENGTH } from '../events/envelope.ts'
import type { RelayLog, RelayProducer } from '../log/relay-port.ts'
import type { Pool } from '../postgres/pool.ts'
import {
  formatCursor,
  judgeCursor,
  parseCursor,
  recordHash,
  type Cursor,
  type Judgement,
} from './cursor.ts'
import { outboxIdentity, type OutboxIdentity } from './identity.ts'
import { readOutbox, readOutboxRecord, type OutboxBatch, type OutboxRecord } from './read.ts'
import {
  countRecords,
  haltShard,
  noteRelayed,
  readHeldShard,
  retireShard,
  setWaiting,
  shardsWithRecords,
  type Halt,
  type HeldShard,
  type Shard,
} from './shards.ts'

/** Longest time between two looks, for what nobody woke us for. */
const IDLE_MS = 5_000
/** How often progress is noted in the database, at most; what is noted may be pruned. */
const NOTE_MS = 500
/** How long a stop lets the log answer. */
const GRACE_MS = 5_000
/** How long it waits for the turn after its connections were ended. */
const LAST_MS = 1_000
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 5_000

/** Options of {@link ShardRelay}. */
export interface ShardRelayOptions {
  readonly core: Core
  readonly pool: Pool
  readonly log: RelayLog
  readonly held: HeldShard
  /** Whether the shard may still be relayed by us, by our own clock. */
  readonly mayRelay: () => boolean
  /** Whether others have taken the shard's place, so that it ends. */
  readonly superseded: () => boolean
  /** Most records of one transaction of the log. */
  readonly batchRecords: number
  /** Most bytes of it. */
  readonly batchBytes: number
}

/**
 * Moves one shard from the outbox into the log.
 *
 * Modes: closed → (open the producer, which shuts out whoever relayed before, then read the cursor and judge it) → relaying;
 * or → halted, until an operator has accepted the cursor; also out of relaying, in front of a record that the log refuses.
 * Any error leads back to closed: what became of the last transaction is only ever learned from the cursor, never
 * remembered. So does a doubt whether the database is still the one that was judged. Retired: the shard is at its end for
 * good. A shard that was never used stays closed: who publishes nothing has no topic and no producers made for it.
 */
export class ShardRelay {
  readonly #options: ShardRelayOptions
  readonly #loop: Loop
  #producer: RelayProducer | undefined
  /** Read ahead while the batch before is on its way. */
  #ahead: Promise<OutboxBatch> | undefined
  #behind = 0n
  #hash = ''
  /** The log's cursor; `''`: none. */
  #cursor = ''
  /** The log has refused some records, the last of which this is; which of them is not known yet. */
  #suspect: bigint | undefined
  /** Records in the log that are not noted yet. */
  #unnoted = 0
  /** Whether there is something to note: for the cursor may move without records. */
  #isBehindNoted = true
  #notedMs = Number.NEGATIVE_INFINITY
  #failures = 0
  #retryAtMs = Number.NEGATIVE_INFINITY
  /** Of the database as it was when it was judged. */
  #identity: OutboxIdentity | undefined
  /** Ends the grace of a stop. */
  readonly #hurry = Promise.withResolvers<false>()
  #stopping: Promise<void> | undefined
  /** Whether the database is to be judged again before anything is sent or noted. */
  #doubted = false
  #mode: 'closed' | 'relaying' | 'halted' | 'retired' = 'closed'
  /** Whether it is closed because there was nothing to relay yet. */
  #isUnused = false

  constructor(options: ShardRelayOptions) {
    this.#options = options
    this.#loop = createLoop({
      clock: options.core.clock,
      intervalMs: IDLE_MS,
      turn: (signal) => this.#turn(signal),
      onError: (error) => {
        options.core.logger.error({ error, shard: this.shard }, 'a relay failed unexpectedly')
      },
    })
  }

  get shard(): number {
    return this.#options.held.shard
  }

  get held(): HeldShard {
    return this.#options.held
  }

  /** The last record that needs no relaying, while records are relayed or none ever was; `undefined`: they are not. */
  get behind(): bigint | undefined {
    if (this.#isUnused) return 0n
    return this.#mode === 'relaying' ? this.#behind : undefined
  }

  /** Whether there is nothing to do any more. */
  get retired(): boolean {
    return this.#mode === 'retired'
  }

  start(): void {
    this.#loop.start()
  }

  /** Says that there may be records. */
  wake(): void {
    this.#loop.wake()
  }

  /** Says that an operator has decided: looks again whether it may go on. */
  reconsider(): void {
    if (this.#mode !== 'halted') return
    this.#mode = 'closed'
    this.#loop.wake()
  }

  /**
   * Says that the database may not be the one that was judged any more: a replica that lagged may have taken its place, whose
   * numbers mean other records. It is judged again before anything else is sent.
   */
  doubt(): void {
    this.#doubted = true
    this.#loop.wake()
  }

  /**
   * Ends after the batch that is on its way, and notes it. A log that does not answer is waited for {@link GRACE_MS}, or not at
   * all with `now`, also while a slower stop is under way; what becomes of the batch is settled by the next who opens.
   */
  async stop({ now = false }: { readonly now?: boolean } = {}): Promise<void> {
    if (now) this.#hurry.resolve(false)
    this.#stopping ??= this.#stop()
    await this.#stopping
  }

  async #stop(): Promise<void> {
    const { clock } = this.#options.core
    const turn = this.#loop.stop().then(() => true)
    const noHurry = clock.after(GRACE_MS, () => this.#hurry.resolve(false))
    let ended = await Promise.race([turn, this.#hurry.promise])
    noHurry()
    if (!ended) {
      // Whatever waits for an answer of its connections ends with them. What waits for the log's own ends with those.
      await this.#close()
      const late = Promise.withResolvers<false>()
      const noLate = clock.after(LAST_MS, () => late.resolve(false))
      ended = await Promise.race([turn, late.promise])
      noLate()
    }
    if (ended) await this.#note().catch((error: unknown) => this.#log('debug', error, NOT_NOTED))
    await this.#close()
  }

  async #turn(signal: AbortSignal): Promise<number | undefined> {
    const { core, mayRelay } = this.#options
    const waitMs = this.#retryAtMs - core.clock.monotonicMs()
    if (waitMs > 0) return waitMs
    if (!mayRelay() || this.#mode === 'halted' || this.#mode === 'retired') return undefined
    try {
      if (this.#doubted && this.#mode === 'relaying') {
        this.#mode = 'closed'
        await this.#close()
      }
      if (this.#mode === 'closed') {
        this.#isUnused = await this.#neverUsed()
        if (!this.#isUnused) await this.#open(signal)
        else if (this.#failures > 0) {
          await setWaiting(this.#options.pool, this.#options.held, null)
          this.#failures = 0
        }
      }
      if (this.#mode !== 'relaying') return undefined
      const next = await this.#relay()
      this.#failures = 0
      return next
    } catch (error) {
      if (signal.aborted) return undefined
      await this.#fail(error)
      return Math.max(1, this.#retryAtMs - core.clock.monotonicMs())
    }
  }

  /** One batch. Gives how long to wait; `undefined`: until somebody wakes us. */
  async #relay(): Promise<number | undefined> {
    const { core, pool, held, mayRelay, superseded } = this.#options
    const ahead = this.#ahead
    this.#ahead = undefined
    // Before the reading: nobody writes to a shard any more once this was seen and its end reached.
    const ends = superseded()
    const batch = await (ahead ?? this.#read(this.#behind))
    // It has not drawn the number yet that it gave to the last record that was sent.
    if (batch.nextOffset <= this.#behind) this.#doubted = true
    if (this.#doubted) return 0
    const records = this.#fewer(batch.records)
    const last = records.at(-1)
    if (last === undefined) {
      if (ahead !== undefined) return 0
      if (ends && batch.horizon === batch.nextOffset) {
        await this.#note()
        await retireShard(pool, held)
        this.#mode = 'retired'
        core.logger.info({ shard: this.shard }, 'a shard of the outbox is at its end')
        return undefined
      }
      if (this.#isBehindNoted) return undefined
      const dueMs = this.#notedMs + NOTE_MS - core.clock.monotonicMs()
      if (dueMs > 0) return dueMs
      await this.#note()
      return undefined
    }
    await failpoint('relay:read')
    // One that lost its shard is shut out by the log; this only spares both the fight.
    if (!mayRelay()) return undefined
    if (batch.more && this.#suspect === undefined) this.#readAhead(last.offset)
    const hash = recordHash(last)
    const cursor = this.#cursorAt(last.offset, hash, new Date(last.appendedMs).toISOString())
    try {
      await (this.#producer as RelayProducer).produce(records, cursor)
    } catch (error) {
      if (isRefusal(error)) return this.#refused(records, error)
      throw error
    }
    await failpoint('relay:committed')
    this.#behind = last.offset
    this.#hash = hash
    this.#cursor = cursor
    this.#unnoted += records.length
    this.#isBehindNoted = false
    if (this.#suspect !== undefined && last.offset >= this.#suspect) this.#suspect = undefined
    if (core.clock.monotonicMs() - this.#notedMs >= NOTE_MS) await this.#note()
    // Once more: what came meanwhile woke us before we slept.
    return 0
  }

  /** The first half of those that one is among that the log refuses; all, where none is known. */
  #fewer(records: readonly OutboxRecord[]): readonly OutboxRecord[] {
    const upTo = this.#suspect
    if (upTo === undefined) return records
    const suspects = records.filter(({ offset }) => offset <= upTo)
    return suspects.slice(0, Math.ceil(suspects.length / 2))
  }

  /**
   * Looks for the one that the log refuses: what comes before it is written first, in order. Found, the shard is halted in
   * front of it, and somebody decides whether it is tried again or left out.
   */
  async #refused(records: readonly OutboxRecord[], error: unknown): Promise<number | undefined> {
    const { core, pool, held } = this.#options
    const [record] = records as readonly [OutboxRecord]
    if (records.length === 1) await this.#note()
    if (records.length > 1 || this.#doubted) {
      this.#suspect = records.at(-1)?.offset
      this.#mode = 'closed'
      await this.#close()
      this.#log('debug', error, 'the log refuses one of some records; looking for which')
      return 0
    }
    const reason = `the log refuses record ${record.offset} (${describeRecord(record)}), and nothing behind it is sent: ${describeError(error).message}`
    await haltShard(pool, held, { reason, cursor: this.#cursor, refused: record.offset })
    this.#suspect = undefined
    this.#mode = 'halted'
    await this.#close()
    core.logger.error(
      { shard: this.shard, reason, error: describeError(error) },
      'a shard of the outbox is stopped: the log refuses its next record (millrace outbox accept)',
    )
    return undefined
  }

  #read(behind: bigint): Promise<OutboxBatch> {
    const { pool, batchRecords: maxRecords, batchBytes: maxBytes } = this.#options
    return readOutbox(pool, { shard: this.shard, behind, maxRecords, maxBytes })
  }

  #readAhead(behind: bigint): void {
    this.#ahead = this.#read(behind)
    // Whoever awaits it learns of its failure; but perhaps nobody ever does.
    this.#ahead.catch(() => {})
  }

  /** Whether nothing of it was ever sent, and nothing is there to be sent. */
  async #neverUsed(): Promise<boolean> {
    const { pool, held, superseded } = this.#options
    if (superseded()) return false
    const shard = await readHeldShard(pool, held)
    if (shard === undefined || shard.relayed !== null || shard.halted !== null) return false
    return (await shardsWithRecords(pool, [{ shard: this.shard, behind: 0n }])).length === 0
  }

  async #open(signal: AbortSignal): Promise<void> {
    const { core, pool, log, held } = this.#options
    this.#doubted = false
    this.#ahead = undefined
    const identity = await outboxIdentity(pool, core)
    this.#identity = identity
    const producer = log.relayProducer({ id: identity.id, shard: this.shard })
    this.#producer = producer
    const found = await producer.open({ signal })
    await failpoint('relay:opened')
    // Only now: all that was relayed before is in the log, and nothing else will be.
    const shard = await readHeldShard(pool, held)
    if (shard === undefined) {
      await this.#close()
      return
    }
    const cursor = found === null ? null : parseCursor(found)
    const record =
      cursor === null ? undefined : await readOutboxRecord(pool, this.shard, cursor.offset)
    const { nextOffset } = await this.#read(cursor?.offset ?? 0n)
    const judgement = judgeCursor({
      cursor,
      relayed: { offset: shard.relayed, hash: shard.relayedHash },
      database: identity.database,
      recordHash: record === undefined ? undefined : recordHash(record),
      nextOffset,
    })
    const at = found ?? ''
    this.#cursor = at
    const halt = haltOf(judgement, shard, at)
    if (halt !== undefined && shard.accepted !== at) {
      await this.#halt(halt, shard)
      return
    }
    this.#behind = judgement.behind
    this.#hash = judgement.hash
    // A record that is refused may be tried again.
    if (halt !== undefined && (halt.refused === null || shard.acceptedBehind !== null)) {
      await this.#goOn(halt, shard, cursor)
    }
    this.#unnoted = await countRecords(pool, this.shard, shard.relayed ?? 0n, this.#behind)
    this.#mode = 'relaying'
    this.#isBehindNoted = shard.halted === null && this.#behind === (shard.relayed ?? 0n)
    await this.#note()
    await setWaiting(pool, held, null)
    core.logger.debug({ shard: this.shard, behind: String(this.#behind) }, 'a shard is relayed')
  }

  /** Stays stopped, or becomes so. */
  async #halt(halt: Halt, shard: Shard): Promise<void> {
    const { core, pool, held } = this.#options
    this.#mode = 'halted'
    await this.#close()
    const { reason, cursor, refused } = halt
    // By whoever relayed before.
    if (refused !== null && shard.cursor === cursor && shard.accepted === null) return
    await haltShard(pool, held, halt)
    core.logger.error(
      { shard: this.shard, reason, cursor },
      'a shard of the outbox is stopped: nothing of it is sent until an operator has decided (millrace outbox status)',
    )
  }

  /** Puts the cursor where an operator wants it. */
  async #goOn(
    { reason, refused }: Halt,
    { acceptedBehind }: Shard,
    cursor: Cursor | null,
  ): Promise<void> {
    const { core, pool } = this.#options
    let appendedAt = cursor?.appendedAt ?? LONG_AGO
    if (acceptedBehind !== null) {
      const record = await readOutboxRecord(pool, this.shard, acceptedBehind)
      this.#behind = acceptedBehind
      this.#hash = record === undefined ? '' : recordHash(record)
      if (refused !== null && record !== undefined)
        appendedAt = new Date(record.appendedMs).toISOString()
    }
    const text = this.#cursorAt(this.#behind, this.#hash, appendedAt)
    await (this.#producer as RelayProducer).produce([], text)
    this.#cursor = text
    core.logger.warn(
      { shard: this.shard, behind: String(this.#behind), reason },
      'a shard of the outbox goes on, as an operator has decided',
    )
  }

  async #note(): Promise<void> {
    if (this.#mode !== 'relaying' || this.#isBehindNoted || this.#doubted) return
    const { core, pool, held } = this.#options
    const count = this.#unnoted
    await failpoint('relay:before-note')
    const progress = { offset: this.#behind, hash: this.#hash, count }
    if (!(await noteRelayed(pool, held, progress))) {
      this.#doubted = true
      return
    }
    this.#unnoted -= count
    this.#isBehindNoted = true
    this.#notedMs = core.clock.monotonicMs()
    await failpoint('relay:noted')
  }

  async #fail(error: unknown): Promise<void> {
    const { core, pool, held } = this.#options
    this.#failures += 1
    const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(10, this.#failures - 1))
    this.#retryAtMs = core.clock.monotonicMs() + waitMs
    this.#ahead = undefined
    const code = isMillraceError(error) ? error.code : undefined
    // Nothing was written, and the producer is as good as before.
    const untouched = code === 'E_LOG_UNKNOWN_TOPIC' && this.#mode === 'relaying'
    if (!untouched) {
      this.#mode = 'closed'
      await this.#close()
    }
    const first = this.#failures === 1 && code !== 'E_LOG_FENCED'
    this.#log(first ? 'warn' : 'debug', error, 'a shard cannot be relayed just now; trying again')
    const reason = describeError(error).message
    await setWaiting(pool, held, reason).catch((other: unknown) =>
      this.#log('debug', other, 'what a shard waits for could not be noted'),
    )
  }

  async #close(): Promise<void> {
    const producer = this.#producer
    this.#producer = undefined
    await producer?.close().catch((error: unknown) => this.#log('debug', error, NOT_CLOSED))
  }

  #cursorAt(offset: bigint, hash: string, appendedAt: string): string {
    const { database } = this.#identity as OutboxIdentity
    return formatCursor({ offset, hash, database, appendedAt })
  }

  #log(level: 'warn' | 'debug', error: unknown, message: string): void {
    const { core } = this.#options
    core.logger[level]({ error: describeError(error), shard: this.shard }, message)
  }
}

/** Why a shard must not go on by itself. */
function haltOf(judgement: Judgement, shard: Shard, cursor: string): Halt | undefined {
  if ('halted' in judgement) return { reason: judgement.halted, cursor, refused: null }
  const { halted: reason, refused } = shard
  if (reason === null || refused === null || judgement.behind >= refused) return undefined
  return { reason, cursor, refused }
}

function isRefusal(error: unknown): boolean {
  return (
    isMillraceError(error) &&
    (error.code === 'E_EVENT_REFUSED' || error.code === 'E_EVENT_TOO_LARGE')
  )
}

/** What names a record, without what is in it. */
function describeRecord({ topic, headers }: OutboxRecord): string {
  const id = headers.find(([name]) => name === HEADER.id)?.[1]
  if (id === undefined || id === null) return `topic '${topic}'`
  const text = storableText(Buffer.from(id).toString().slice(0, MAX_ID_LENGTH))
  return `topic '${topic}', event ${text}`
}

const LONG_AGO = new Date(0).toISOString()
const NOT_NOTED = 'how far a shard is could not be noted; the next relay finds it in the log'
const NOT_CLOSED = 'the producer of a shard could not be closed in good order'
