import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { start, type Millrace } from '../../src/app/start.ts'
import { seededRandom, type Random } from '../../src/core/random.ts'
import { event } from '../../src/events/event.ts'
import { kafka } from '../../src/kafka/kafka.ts'
import { cleanup } from '../support/cleanup.ts'
import { compileCache } from '../support/compile-cache.ts'
import { testDatabase } from '../support/database.ts'
import { readCommitted, relayed } from '../support/outbox.ts'
import { spawnNode, type Scenario } from '../support/process.ts'
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
  /** Records of one transaction of Kafka. Default 40: many transactions to be killed in. */
  readonly batchRecords?: number
}

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
 * One run: writers publish in transactions, relays in processes of their own move it to Kafka, and what is committed there
 * is read in the end. With our own reader, which drops what was aborted by the rule of Kafka's: KafkaJS does not, it gives
 * records of transactions that a killed relay left and the next one aborted.
 */
export class RelayRun {
  readonly random: Random
  readonly #t: TestContext
  readonly #brokers: readonly string[]
  readonly #millrace: Millrace
  readonly #databaseUrl: string
  readonly #topic: string
  readonly #leaseMs: number
  readonly #batchRecords: number
  /** What was acknowledged, by key, in order. */
  readonly #written = new Map<string, number[]>()
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
      readonly batchRecords: number
      readonly seed: number
    },
  ) {
    this.#t = t
    this.#brokers = parts.brokers
    this.#millrace = parts.millrace
    this.#databaseUrl = parts.databaseUrl
    this.#topic = parts.topic
    this.#leaseMs = parts.leaseMs
    this.#batchRecords = parts.batchRecords
    this.random = seededRandom(parts.seed)
  }

  /** Makes everything; all of it ends with the test. */
  static async begin(
    t: TestContext,
    brokers: readonly string[],
    { leaseMs = 1_200, batchRecords = 40 }: RelayRunOptions = {},
  ): Promise<RelayRun> {
    const seed = seedOf(t)
    const { url: databaseUrl } = await testDatabase(t)
    const topic = `relay-${randomUUID()}`
    const millrace = await start({
      database: databaseUrl,
      migrate: false,
      log: kafka({ brokers }),
      topics: { [topic]: { partitions: 4 } },
      queues: false,
      relay: false,
      takeOverMs: 60_000,
    })
    cleanup(t, () => millrace.stop({ now: true }))
    return new RelayRun(t, { brokers, millrace, databaseUrl, topic, leaseMs, batchRecords, seed })
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

  /** Starts a relay. */
  relay(trap?: Trap): RelayProcess {
    this.#relays += 1
    const config: RelayConfig = {
      name: `relay-${this.#relays}`,
      databaseUrl: this.#databaseUrl,
      brokers: this.#brokers,
      leaseMs: this.#leaseMs,
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
      },
      async kill9() {
        process.kill('SIGKILL')
        assert.equal((await process.exited).signal, 'SIGKILL')
      },
      failures: () =>
        process.events.flatMap(({ event, line }) => {
          if (event !== 'log') return []
          const { message, error } = line as LogLine
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
    const goal = (await done()) + count
    await eventually(async () => (await done()) >= goal, { timeoutMs: 120_000 })
  }

  /** Says of a fault whether it was seen: a run with one that was not shows nothing. */
  fault(name: string, evidence: { readonly seen: boolean; readonly text: string }): void {
    this.#t.diagnostic(`${name}: ${evidence.text}`)
    if (!evidence.seen) this.#doubts.push(`${name} was not seen: ${evidence.text}`)
  }

  /**
   * Waits until everything is in Kafka, and looks: nothing lost, doubled or, per key, out of order, and every fault was
   * seen.
   */
  async pass(): Promise<void> {
    await relayed(this.#millrace, { timeoutMs: 120_000 })
    const seen = new Map<string, number[]>([...this.#written.keys()].map((key) => [key, []]))
    for (const { key, value } of await readCommitted(this.#brokers, this.#topic)) {
      const { n } = JSON.parse(value ?? 'null') as { n: number }
      seen.get(key ?? '')?.push(n)
    }
    for (const [key, written] of this.#written) {
      assert.deepEqual(seen.get(key), written, `what is there of ${key} is not what was written`)
    }
    const total = [...seen.values()].reduce((sum, { length }) => sum + length, 0)
    assert.equal(total, this.#acknowledged)
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
      this.#outbox = (await this.#millrace.summary()).outbox
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
    const next = new Map(keys.map((key) => [key, 0]))
    for (const key of keys) this.#written.set(key, [])
    while (this.#writing) {
      const facts = Array.from({ length: 1 + Math.floor(random.next() * 30) }, () => {
        const key = keys[Math.floor(random.next() * keys.length)] as string
        const n = next.get(key) as number
        next.set(key, n + 1)
        return { key, n }
      })
      const half = Math.floor(facts.length / 2)
      const isLong = random.next() < 0.1
      const isTakenBack = random.next() < 0.1
      try {
        await this.#millrace.transaction(async (tx) => {
          await tx.publishMany(fact, facts.slice(0, half))
          if (isLong) await sleep(50)
          await tx.publishMany(fact, facts.slice(half))
          if (isTakenBack) throw new TakenBack()
        })
      } catch (error) {
        if (!(error instanceof TakenBack)) throw error
        continue
      }
      for (const { key, n } of facts) this.#written.get(key)?.push(n)
      this.#acknowledged += facts.length
      await sleep(this.#outbox > MUCH ? 250 : 10)
    }
  }
}

interface LogLine {
  readonly message: string
  readonly error?: { readonly message: string }
}

class TakenBack extends Error {}
