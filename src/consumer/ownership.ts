import type { Core } from '../core/core.ts'
import { createLoop, type Loop } from '../core/loop.ts'
import { describeError } from '../errors/describe.ts'
import { isMillraceError } from '../errors/millrace-error.ts'
import type { Log, Topic } from '../log/port.ts'
import { wake, type Listener } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import { transaction } from '../postgres/transaction.ts'
import type { Heartbeat } from '../process/heartbeat.ts'
import type { Application } from './application.ts'
import { assign, type PartitionName } from './assignment.ts'
import { haltPosition } from './gaps.ts'
import type { PartitionConsumer, PartitionEnd } from './partition-consumer.ts'
import {
  acquirePositions,
  createPositions,
  listPositions,
  liveReaders,
  releasePosition,
  type OwnedPosition,
  type PositionRow,
} from './positions.ts'
import { startOffset } from './start-offset.ts'

/** Options of {@link Ownership}. */
export interface OwnershipOptions {
  readonly core: Core
  readonly pool: Pool
  readonly log: Log
  readonly heartbeat: Heartbeat
  readonly listener: Listener
  readonly application: Application
  /** Time between two looks at who should own what, in milliseconds. Default 1,000. */
  readonly intervalMs?: number
  readonly makeConsumer: (position: OwnedPosition, processId: string) => PartitionConsumer
}

interface Held {
  readonly consumer: PartitionConsumer
  readonly processId: string
  readonly ended: Promise<void>
}

/**
 * Decides, again and again, which partitions of an application this process reads: takes what is its share and free,
 * drains and gives back what is another's share, or paused; drops what an operator has moved, and takes it anew. Two
 * processes that disagree for a moment do no harm: taking is a compare-and-set on the owner, and every batch is fenced by
 * the epoch.
 */
export class Ownership {
  readonly #options: OwnershipOptions
  readonly #loop: Loop
  readonly #held = new Map<PartitionName, Held>()
  /** Topics that the log could not be asked about, each with when that was last said. */
  readonly #unasked = new Map<string, number>()
  #off: (() => void)[] = []

  constructor(options: OwnershipOptions) {
    this.#options = options
    this.#loop = createLoop({
      clock: options.core.clock,
      intervalMs: options.intervalMs ?? 1_000,
      turn: () => this.#turn(),
      onError: (error) =>
        options.core.logger.warn(
          { application: options.application.name, error: describeError(error) },
          'who reads which partition could not be settled just now; trying again',
        ),
    })
  }

  /** How many partitions this process reads now. */
  get size(): number {
    return this.#held.size
  }

  start(): void {
    const { listener, heartbeat, application } = this.#options
    this.#off = [
      listener.on('owners', (text) => {
        if (text === '' || text === application.name) this.#loop.wake()
      }),
      heartbeat.onLapse(() => {
        // All that we held belongs to others by now; their epochs keep us out, so only stop.
        for (const [name, held] of this.#held) {
          void held.consumer.abandon().then(() => {
            if (this.#held.get(name) === held) this.#held.delete(name)
            this.#loop.wake()
          })
        }
      }),
    ]
    this.#loop.start()
  }

  /** Finishes the batches at hand and gives everything back; with `now`, rolls them back instead. */
  async stop({ now = false }: { readonly now?: boolean } = {}): Promise<void> {
    for (const off of this.#off) off()
    this.#off = []
    // A look that is under way may wait for a log that does not answer; and it may take something once more.
    await Promise.all([this.#loop.stop(), this.#releaseAll(now)])
    await this.#releaseAll(now)
    await this.#announce()
  }

  async #releaseAll(now: boolean): Promise<void> {
    await Promise.all([...this.#held.keys()].map((name) => this.#release(name, now)))
  }

  async #turn(): Promise<undefined> {
    const { pool, application, heartbeat } = this.#options
    if (!heartbeat.alive) return undefined
    const processId = heartbeat.id
    const positions = await this.#reconcile(await listPositions(pool, application.name))
    const readers = await liveReaders(pool, application.name, application.topics)
    const mine = new Map<PartitionName, PositionRow>()
    // Topics that the same processes read are shared out together, so that the loads are even over all of them.
    const shared = Map.groupBy(positions, ({ topic }) => (readers.get(topic) ?? []).join())
    for (const [processes, among] of shared) {
      const owners = assign(among.map(nameOf), processes.split(','))
      for (const position of among) {
        if (owners.get(nameOf(position)) === processId) mine.set(nameOf(position), position)
      }
    }

    await this.#giveBackLeft(processId, positions, mine)
    await this.#dropMoved(positions)
    const surplus = [...this.#held.keys()].filter((name) => mine.get(name)?.paused !== false)
    if (surplus.length > 0) {
      await Promise.all(surplus.map((name) => this.#release(name, false)))
      await this.#announce()
    }
    const free = [...mine.values()].filter(
      (p) => !p.paused && !this.#held.has(nameOf(p)) && (p.owner === processId || !p.ownerAlive),
    )
    if (free.length > 0) await this.#acquire(processId, free)
    return undefined
  }

  /**
   * Gives back what stands in our name although we do not read it and are not to: the connection broke when it was given
   * back, or taken. Nobody else would take it as long as we live.
   */
  async #giveBackLeft(
    processId: string,
    positions: readonly PositionRow[],
    mine: ReadonlyMap<PartitionName, PositionRow>,
  ): Promise<void> {
    const left = positions.filter(
      (p) =>
        p.owner === processId &&
        !this.#held.has(nameOf(p)) &&
        mine.get(nameOf(p))?.paused !== false,
    )
    if (left.length === 0) return
    for (const position of left) await releasePosition(this.#options.pool, processId, position)
    await this.#announce()
  }

  /**
   * Ends the reading of what is not where we left it. An operator's seek takes the owner off and raises the epoch: a batch
   * of ours that commits before it is under what was moved, one that comes after it moves nothing and is rolled back; and
   * one that waits for records, or for a back-off, would not notice, so we look. The rows are younger than all that is
   * held: a partition is taken in a turn of this loop only, and the next turn reads them anew.
   */
  async #dropMoved(positions: readonly PositionRow[]): Promise<void> {
    const rows = new Map(positions.map((position) => [nameOf(position), position]))
    const moved = [...this.#held].filter(([name, { consumer, processId }]) => {
      const row = rows.get(name)
      return row !== undefined && (row.owner !== processId || row.epoch !== consumer.position.epoch)
    })
    await Promise.all(moved.map(([name]) => this.#release(name, true)))
  }

  /**
   * The application's positions in the topics as they are now, made where they are missing. Of a topic that the log cannot
   * be asked about they are taken as they stand: whoever reads them says what is wrong, and the other topics go on.
   */
  async #reconcile(known: readonly PositionRow[]): Promise<PositionRow[]> {
    const { pool, application } = this.#options
    const looks = await Promise.all(
      application.topics.map((name) =>
        this.#look(
          name,
          known.filter(({ topic }) => topic === name),
        ),
      ),
    )
    const missing = looks.flatMap((look) => look.missing)
    let rows = known
    if (missing.length > 0) {
      await createPositions(pool, missing)
      rows = await listPositions(pool, application.name)
    }
    const current = new Set(looks.flatMap(({ topicIds }) => topicIds))
    // Positions in topics that this version of the application does not read any more stay as they are.
    return rows.filter(({ topicId, halted }) => current.has(topicId) && halted === null)
  }

  /** What a topic is now: the ids that positions in it may have, and the positions that are missing. */
  async #look(name: string, ofTopic: readonly PositionRow[]): Promise<TopicLook> {
    const { pool, log, application, core } = this.#options
    let topic: Topic | undefined
    try {
      topic = await log.topic(name)
    } catch (error) {
      return this.#notAsked(name, ofTopic, error)
    }
    const strangers = ofTopic.filter((position) => position.topicId !== topic?.id)
    if (strangers.length > 0) {
      // Same name, another log: nothing says where to begin in it. Somebody has to decide.
      const finding =
        topic === undefined
          ? ({ code: 'topic-deleted', found: `topic ${name} was deleted` } as const)
          : ({
              code: 'topic-recreated',
              found: `topic ${name} was deleted and made anew, or this is another log: its id is ${topic.id} now`,
              evidence: { newTopicId: topic.id },
            } as const)
      for (const position of strangers.filter(({ halted }) => halted === null))
        await haltPosition({ core, pool }, position, { from: null, to: null, ...finding })
      return { topicIds: [], missing: [] }
    }
    if (topic === undefined) {
      core.logger.debug(
        { application: application.name, topic: name },
        'the topic does not exist yet; waiting for it',
      )
      return { topicIds: [], missing: [] }
    }
    const fresh = Array.from({ length: topic.partitions }, (_, i) => i).filter(
      (i) => !ofTopic.some((p) => p.partition === i),
    )
    const added = fresh.length > 0 && ofTopic.length > 0
    if (added) {
      core.logger.warn(
        { application: application.name, topic: name, partitions: fresh },
        'partitions were added to a topic: a key may be in another one from now on, beside what is left of it in the old',
      )
    }
    try {
      const missing = fresh.length === 0 ? [] : await this.#firstPositions(topic, fresh, added)
      this.#unasked.delete(name)
      return { topicIds: [topic.id], missing }
    } catch (error) {
      return this.#notAsked(name, ofTopic, error)
    }
  }

  #notAsked(name: string, ofTopic: readonly PositionRow[], error: unknown): TopicLook {
    const { core, application } = this.#options
    const now = core.clock.monotonicMs()
    const said = this.#unasked.get(name)
    if (said === undefined || now - said >= SAID_AGAIN_MS) {
      this.#unasked.set(name, now)
      core.logger.warn(
        { application: application.name, topic: name, error: describeError(error) },
        'the log cannot be asked about a topic just now; its partitions are left as they stand, trying again',
      )
    }
    return { topicIds: ofTopic.map(({ topicId }) => topicId), missing: [] }
  }

  async #firstPositions(
    topic: Topic,
    partitions: readonly number[],
    added: boolean,
  ): Promise<OwnedPositionSeed[]> {
    const { log, application } = this.#options
    const { start } = application.options
    const ranges = await log.offsets(topic.id)
    // One that nobody can say anything of just now gets its position as soon as somebody can.
    const known = partitions.filter(
      (partition) =>
        ranges.find((range) => range.partition === partition)?.unavailable === undefined,
    )
    return Promise.all(
      known.map(async (partition) => {
        const found = ranges.find((r) => r.partition === partition)
        const range = found ?? { partition, start: 0n, end: 0n }
        // Partitions added later begin at their start: what was written to them meanwhile is new to everybody.
        const next = await startOffset(log, topic.id, range, added ? 'beginning' : start)
        return {
          application: application.name,
          topic: topic.name,
          topicId: topic.id,
          partition,
          next,
        }
      }),
    )
  }

  async #acquire(processId: string, free: readonly PositionRow[]): Promise<void> {
    const { pool, core } = this.#options
    const owned = await transaction(pool, core, async (tx) => {
      // The old owner may hold the row in a transaction that the server ends before long.
      await tx.query('/* millrace:position-lock-timeout */ set local lock_timeout = 2000')
      return acquirePositions(tx, processId, free)
    }).catch((error: unknown) => {
      // Whether it went through or not: the next look tells, for what we own and do not hold is taken again.
      if (isMillraceError(error) || (error as { code?: string }).code === '55P03') return []
      throw error
    })
    // Lapsed meanwhile: what was taken under the old id is nobody's, and the next look takes it anew.
    if (this.#options.heartbeat.id !== processId) return
    for (const position of owned) this.#hold(processId, position)
  }

  #hold(processId: string, position: OwnedPosition): void {
    const { core, application, makeConsumer } = this.#options
    const name = nameOf(position)
    core.logger.info(
      {
        application: application.name,
        topic: position.topic,
        partition: position.partition,
        epoch: String(position.epoch),
        next: String(position.next),
      },
      'reading a partition',
    )
    const consumer = makeConsumer(position, processId)
    const ended = consumer.start().then((end) => this.#onEnd(name, end))
    this.#held.set(name, { consumer, processId, ended })
  }

  #onEnd(name: PartitionName, end: PartitionEnd): void {
    if (end === 'drained') return
    // Lost or halted: it is not ours to give back. The next look finds out what it is now.
    // The loop is not woken: whatever went wrong may go wrong again at once.
    this.#held.delete(name)
  }

  async #release(name: PartitionName, now: boolean): Promise<void> {
    const held = this.#held.get(name)
    if (held === undefined) return
    await (now ? held.consumer.abandon() : held.consumer.drain())
    await held.ended
    if (!this.#held.delete(name)) return
    await releasePosition(this.#options.pool, held.processId, held.consumer.position).catch(
      (error: unknown) =>
        this.#options.core.logger.warn(
          { error: describeError(error) },
          'a partition could not be given back just now; trying again',
        ),
    )
  }

  async #announce(): Promise<void> {
    const { pool, application, core } = this.#options
    await wake(pool, 'owners', application.name).catch((error: unknown) =>
      core.logger.debug({ error }, 'no wake-up sent'),
    )
  }
}

/** How often it is said again that the log cannot be asked about a topic, in milliseconds. */
const SAID_AGAIN_MS = 60_000

interface TopicLook {
  readonly topicIds: readonly string[]
  readonly missing: readonly OwnedPositionSeed[]
}

type OwnedPositionSeed = Parameters<typeof createPositions>[1][number]

function nameOf(position: { readonly topicId: string; readonly partition: number }): PartitionName {
  return `${position.topicId}:${position.partition}`
}
