import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { start, type Millrace } from '../../src/app/start.ts'
import { seededRandom, type Random } from '../../src/core/random.ts'
import { isMillraceError } from '../../src/errors/millrace-error.ts'
import { event } from '../../src/events/event.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { checkRelayed, type PublishedFact } from '../support/checker/relayed.ts'
import { cleanup } from '../support/cleanup.ts'
import { compileCache } from '../support/compile-cache.ts'
import { testDatabase } from '../support/database.ts'
import { keepingLogger, type LogLine } from '../support/millrace.ts'
import { readCommitted, relayed } from '../support/outbox.ts'
import { isStopped, spawnNode, type Scenario } from '../support/process.ts'
import { eventually } from '../support/wait.ts'
import { seedOf } from './chaos-run.ts'
import type { Trap } from './failpoints.ts'
import type { RelayConfig } from './relay-worker.ts'

const WRITERS = 4
const KEYS_PER_WRITER = 6
/** Above this many records in the outbox, writers take their time. */
const MUCH = 2_000

/** Options of {@link RelayRun.begin}. */
export interface RelayRunOptions {
  /** How long a silent relay keeps its shards, in milliseconds. Default 1,200. */
  readonly leaseMs?: number
  /** Silence after which a relay's process counts as dead, in milliseconds. Default: as long as it keeps its shards. */
  readonly takeOverMs?: number
  /** Records of one transaction of Kafka. Default 40: many transactions to be killed in. */
  readonly batchRecords?: number
  /** URL of the database, which is migrated. Default: one of its own on the server of all tests. */
  readonly database?: string
  /** The same database as the writers reach it. Default: directly. */
  readonly url?: string
  /** The database is going to be hit: transactions may fail with {@link HIT}. */
  readonly hit?: boolean
}

/** What a transaction may fail with while its database is hit: nothing was written, or nobody can say. */
const HIT = { E_DB_CONNECT: 'fail', E_DB_UNKNOWN_COMMIT: 'info' } as const
type Hit = keyof typeof HIT

/** A relay in a process of its own. */
export interface RelayProcess extends Scenario {
  readonly name: string
  /** Resolves when the trap was sprung and the process is stopped or dead. */
  trapped(): Promise<void>
  /** Kills it; fails when it did not die of that. */
  kill9(): Promise<void>
  /** What it said whenever a shard could not be relayed, and it gave its producer up to try again. */
  failures(): readonly string[]
}

const TRYING_AGAIN = 'a shard cannot be relayed just now; trying again'

/**
 * One run: writers publish in transactions, each event beside a row of theirs, relays in processes of their own move it to
 * Kafka, and what is committed there is read in the end, with Apache's Java client ({@link readCommitted}).
 */
export class RelayRun {
  readonly random: Random
  readonly #t: TestContext
  readonly #brokers: readonly string[]
  readonly #millrace: Millrace
  readonly #databaseUrl: string
  readonly #topic: string
  readonly #leaseMs: number
  readonly #takeOverMs: number
  readonly #batchRecords: number
  readonly #hit: boolean
  /** What the writers' side has logged. */
  readonly lines: readonly LogLine[]
  /** Everything that writers tried to publish. */
  readonly #published: PublishedFact[] = []
  /** The next number of each key. */
  readonly #next = new Map<string, number>()
  readonly #heard: Record<Hit, number> = { E_DB_CONNECT: 0, E_DB_UNKNOWN_COMMIT: 0 }
  /** How often the database has fallen back. */
  #fallBacks = 0
  #writing = true
  #load: Promise<void> | undefined
  #acknowledged = 0
  #outbox = 0
  #relays = 0
  readonly #doubts: string[] = []

  private constructor(
    t: TestContext,
    parts: {
      readonly brokers: readonly string[]
      readonly millrace: Millrace
      readonly databaseUrl: string
      readonly topic: string
      readonly leaseMs: number
      readonly takeOverMs: number
      readonly batchRecords: number
      readonly hit: boolean
      readonly lines: readonly LogLine[]
      readonly seed: number
    },
  ) {
    this.#t = t
    this.#brokers = parts.brokers
    this.#millrace = parts.millrace
    this.#databaseUrl = parts.databaseUrl
    this.#topic = parts.topic
    this.#leaseMs = parts.leaseMs
    this.#takeOverMs = parts.takeOverMs
    this.#batchRecords = parts.batchRecords
    this.#hit = parts.hit
    this.lines = parts.lines
    this.random = seededRandom(parts.seed)
  }

  /** Makes everything; all of it ends with the test. */
  static async begin(
    t: TestContext,
    brokers: readonly string[],
    options: RelayRunOptions = {},
  ): Promise<RelayRun> {
    const { leaseMs = 1_200, takeOverMs = leaseMs, batchRecords = 40, hit = false } = options
    const seed = seedOf(t)
    const databaseUrl = options.database ?? (await testDatabase(t)).url
    const topic = `relay-${randomUUID()}`
    const logger = keepingLogger()
    const millrace = await start({
      database: options.url ?? databaseUrl,
      logger,
      migrate: false,
      log: kafka({ brokers }),
      topics: { [topic]: { partitions: 4 } },
      queues: false,
      relay: false,
      takeOverMs: 60_000,
    })
    cleanup(t, () => millrace.stop({ now: true }))
    await millrace.database.query('create table fact (key text, n integer, primary key (key, n))')
    const { lines } = logger
    const told = { brokers, databaseUrl, leaseMs, takeOverMs, batchRecords, hit }
    return new RelayRun(t, { ...told, millrace, topic, lines, seed })
  }

  get millrace(): Millrace {
    return this.#millrace
  }

  get topic(): string {
    return this.#topic
  }

  /** How many records were acknowledged so far. */
  get acknowledged(): number {
    return this.#acknowledged
  }

  /** How many transactions have failed with this. */
  heard(code: Hit): number {
    return this.#heard[code]
  }

  /** Starts a relay. */
  relay(trap?: Trap): RelayProcess {
    this.#relays += 1
    const config: RelayConfig = {
      name: `relay-${this.#relays}`,
      databaseUrl: this.#databaseUrl,
      brokers: this.#brokers,
      leaseMs: this.#leaseMs,
      takeOverMs: this.#takeOverMs,
      batchRecords: this.#batchRecords,
      pruneMs: 50,
      ...(trap === undefined ? {} : { trap }),
    }
    const process = spawnNode(this.#t, new URL('./relay-worker.ts', import.meta.url), {
      env: { CHAOS_RELAY: JSON.stringify(config), NODE_COMPILE_CACHE: compileCache() },
    })
    return Object.assign(Object.create(process) as Scenario, {
      name: config.name,
      async trapped() {
        await process.waitFor('trap', { timeoutMs: 60_000 })
        if (trap?.signal === 'SIGKILL') assert.equal((await process.exited).signal, 'SIGKILL')
        if (trap?.signal === 'SIGSTOP') await eventually(() => isStopped(process.pid))
      },
      async kill9() {
        process.kill('SIGKILL')
        assert.equal((await process.exited).signal, 'SIGKILL')
      },
      failures: () =>
        process.events.flatMap(({ event, line }) => {
          if (event !== 'log') return []
          const { message, error } = line as WrittenLine
          return message === TRYING_AGAIN ? [error?.message ?? ''] : []
        }),
    })
  }

  /** Publishes until {@link stopWriting}: long and short transactions, some of them rolled back. */
  startWriting(): void {
    const writers = Array.from({ length: WRITERS }, (_, writer) => this.#write(writer))
    this.#load = Promise.all([this.#watch(), ...writers]).then(() => {})
    // Whoever ends the load learns of it.
    this.#load.catch(() => {})
  }

  async stopWriting(): Promise<void> {
    this.#writing = false
    await this.#load
  }

  /** Waits until so many more records were acknowledged. */
  async more(count: number): Promise<void> {
    const goal = this.#acknowledged + count
    await eventually(() => this.#acknowledged >= goal)
  }

  /** Waits until so many more records are known to be in Kafka. */
  async moreRelayed(count: number): Promise<void> {
    const done = async (): Promise<number> =>
      this.#acknowledged - (await this.#millrace.summary()).outbox
    // The database may be away for a while.
    const goal = (await eventually(async () => ({ before: await done() }))).before + count
    await eventually(async () => (await done()) >= goal, { timeoutMs: 120_000 })
  }

  /** Says of a fault whether it was seen: a run with one that was not shows nothing. */
  fault(name: string, evidence: { readonly seen: boolean; readonly text: string }): void {
    this.#t.diagnostic(`${name}: ${evidence.text}`)
    if (!evidence.seen) this.#doubts.push(`${name} was not seen: ${evidence.text}`)
  }

  /** The database has fallen back to what a lagging standby knew: what was begun so far may be forgotten. */
  forget(): void {
    this.#fallBacks += 1
    for (const [at, fact] of this.#published.entries())
      this.#published[at] = { ...fact, mayBeForgotten: true }
  }

  /**
   * Waits until everything is in Kafka, and looks: nothing lost, doubled or, per key, out of order, and every fault was
   * seen.
   */
  async pass(): Promise<void> {
    await relayed(this.#millrace, { timeoutMs: 120_000 })
    const { rows } = await this.#millrace.database.query<{ key: string; n: number }>(
      'select key, n from fact',
    )
    const seen = await readCommitted(this.#brokers, this.#topic)
    const log = seen.map(({ value }) => JSON.parse(value ?? 'null') as { key: string; n: number })
    const violations = checkRelayed({ published: this.#published, rows, log })
    assert.deepEqual(violations.slice(0, 20), [], `${violations.length} things are wrong`)
    assert.ok(this.#acknowledged > 0, 'nothing was published')
    assert.deepEqual(this.#doubts, [], 'unknown')
  }

  /** How often shards have changed hands. */
  async handOvers(): Promise<number> {
    const { rows } = await this.#millrace.database.query<{ n: number }>(
      'select sum(epoch)::integer as n from millrace.outbox_shard',
    )
    return rows[0]?.n ?? 0
  }

  async #watch(): Promise<void> {
    while (this.#writing) {
      try {
        this.#outbox = (await this.#millrace.summary()).outbox
      } catch (error) {
        if (!this.#hit) throw error
      }
      await sleep(250)
    }
  }

  async #write(writer: number): Promise<void> {
    const random = seededRandom(this.random.next() * 1_000_000)
    const fact = event('FACT_NOTED', {
      source: 'CHAOS',
      topic: this.#topic,
      schema: z.object({ key: z.string(), n: z.int() }),
      key: ({ key }) => key,
    })
    const keys = Array.from({ length: KEYS_PER_WRITER }, (_, i) => `key-${writer}-${i}`)
    while (this.#writing) {
      const facts = Array.from({ length: 1 + Math.floor(random.next() * 30) }, () => {
        const key = keys[Math.floor(random.next() * keys.length)] as string
        const n = this.#next.get(key) ?? 0
        this.#next.set(key, n + 1)
        return { key, n }
      })
      const half = Math.floor(facts.length / 2)
      const isLong = random.next() < 0.1
      const isTakenBack = random.next() < 0.1
      const fallBacks = this.#fallBacks
      let outcome: PublishedFact['outcome'] = 'ok'
      try {
        await this.#millrace.transaction(async (tx) => {
          await tx.query(
            'insert into fact (key, n) select * from unnest($1::text[], $2::integer[])',
            [facts.map(({ key }) => key), facts.map(({ n }) => n)],
          )
          await tx.publishMany(fact, facts.slice(0, half))
          if (isLong) await sleep(50)
          await tx.publishMany(fact, facts.slice(half))
          if (isTakenBack) throw new TakenBack()
        })
      } catch (error) {
        outcome = this.#judge(error)
      }
      const mayBeForgotten = fallBacks < this.#fallBacks
      // What the server said that fell back may have been said by nobody: not even a refusal counts.
      if (mayBeForgotten && outcome === 'fail' && !isTakenBack) outcome = 'info'
      this.#published.push(...facts.map((one) => ({ ...one, outcome, mayBeForgotten })))
      if (outcome !== 'ok') continue
      this.#acknowledged += facts.length
      await sleep(this.#outbox > MUCH ? 250 : 10)
    }
  }

  /** What a transaction has come to that failed. */
  #judge(error: unknown): 'fail' | 'info' {
    if (error instanceof TakenBack) return 'fail'
    const code = isMillraceError(error) ? error.code : undefined
    if (!this.#hit || !(code === 'E_DB_CONNECT' || code === 'E_DB_UNKNOWN_COMMIT')) throw error
    this.#heard[code] += 1
    return HIT[code]
  }
}

interface WrittenLine {
  readonly message: string
  readonly error?: { readonly message: string }
}

class TakenBack extends Error {}
