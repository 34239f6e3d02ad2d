import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type pg from 'pg'
import { start, type Millrace } from '../../src/app/start.ts'
import { kafka, type KafkaOptions } from '../../src/kafka/kafka.ts'
import { check } from '../support/checker/check.ts'
import {
  partitionOf,
  type Dumps,
  type EchoDump,
  type PositionDump,
} from '../support/checker/dumps.ts'
import {
  appendEntry,
  readHistory,
  type HistoryEntry,
  type SampleEntry,
} from '../support/checker/history.ts'
import { KafkaObserver } from '../support/checker/kafka-observer.ts'
import { readDumps } from '../support/checker/read-dumps.ts'
import { installShadow } from '../support/checker/shadow.ts'
import { describeVerdict, type Verdict } from '../support/checker/verdict.ts'
import { cleanup } from '../support/cleanup.ts'
import { compileCache } from '../support/compile-cache.ts'
import { keepingLogger, type LogLine } from '../support/millrace.ts'
import { readCommitted } from '../support/outbox.ts'
import { isStopped, spawnNode, type Scenario } from '../support/process.ts'
import { eventually } from '../support/wait.ts'
import {
  APPLICATION,
  CALL,
  echoTopic,
  LEDGER,
  PROMISED_BACKOFF_MS,
  RECORD,
  TOPIC,
} from './application.ts'
import { effectServer, type EffectServer } from './effect-server.ts'
import type { Trap } from './failpoints.ts'
import type { OperatorConfig } from './operator-worker.ts'
import { Producer } from './producer.ts'
import type { WorkerConfig } from './worker.ts'

/** Options of {@link chaosRun}. */
export interface ChaosRunOptions {
  readonly name: string
  readonly database: { readonly url: string; readonly pool: pg.Pool }
  /** The database as workers and producer reach it. Default: directly. */
  readonly url?: string
  /** The log is in Kafka, in a topic of the run's own. Default: the table log. */
  readonly log?: KafkaOptions
  /**
   * Handlers publish too. On Kafka, all that is published goes there through the outbox, and workers relay it. Default
   * `false`.
   */
  readonly outbox?: boolean
  /** Handlers handle an event once, however often it was appended. Default `false`. */
  readonly once?: boolean
  readonly partitions?: number
  /** Default: {@link seedOf}. */
  readonly seed?: number
  /** The run injects nothing on purpose. */
  readonly faultless?: boolean
  /** A key may go to another partition, or to another topic of the same name, while the run goes on. */
  readonly relocates?: boolean
  /** There are times at which the log cannot be read. */
  readonly outages?: boolean
  /** The database is restored to an earlier state: what was seen of positions before says nothing. */
  readonly restored?: boolean
  /** Somebody else commits offsets to Kafka under the application's name: they say nothing. */
  readonly foreignOffsets?: boolean
  /** What every worker is told; see {@link WorkerConfig}. */
  readonly workers?: Partial<WorkerConfig>
  /** Top folder of the sources that workers run. Default: this repository. */
  readonly root?: string
}

/** A worker process. */
export interface ChaosWorker extends Scenario {
  readonly name: string
  /** The lines that it logged with this text. */
  logged(message: string): number
  /** Resolves when the trap was sprung and the process is stopped, dead or blocked; gives when that was. */
  trapped(): Promise<number>
  /** Waits until it is ready. */
  ready(): Promise<void>
}

const UNTOUCHED: Pick<
  WorkerConfig,
  'takeOverMs' | 'heartbeatMs' | 'transactionTimeoutMs' | 'batchRecords' | 'concurrency'
> = {
  takeOverMs: 1_200,
  heartbeatMs: 150,
  transactionTimeoutMs: 600,
  batchRecords: 25,
  concurrency: 4,
}

/** The seed of this process' runs: MILLRACE_SEED, or one by chance. It is printed. */
export function seedOf(t: TestContext): number {
  const seed = Number(process.env['MILLRACE_SEED'] ?? Math.floor(Math.random() * 1_000_000))
  t.diagnostic(`seed ${seed}; to repeat: MILLRACE_SEED=${seed}`)
  return seed
}

/** One run of a scenario: its database, its observers, its producer, its worker processes. */
export class ChaosRun {
  readonly producer: Producer
  readonly effects: EffectServer
  /** Appends for the producer. */
  readonly millrace: Millrace
  /** What the producer's side has logged. */
  readonly lines: readonly LogLine[]
  /** The topic of the run. */
  readonly topic: string
  /** Sees what is in Kafka; undefined on the table log. */
  readonly kafka: KafkaObserver | undefined
  readonly seed: number
  readonly #t: TestContext
  readonly #options: ChaosRunOptions
  readonly #historyFile: string
  readonly #startedAt = Date.now()
  #lastFaultAt: number | undefined
  #sampling = true
  #ended: readonly PositionDump[] = []
  #workers = 0

  private constructor(
    t: TestContext,
    options: ChaosRunOptions,
    parts: {
      readonly historyFile: string
      readonly effects: EffectServer
      readonly millrace: Millrace
      readonly lines: readonly LogLine[]
      readonly topic: string
      readonly seed: number
    },
  ) {
    this.#t = t
    this.#options = options
    const { historyFile, effects, millrace, topic, seed } = parts
    this.#historyFile = historyFile
    this.effects = effects
    this.millrace = millrace
    this.lines = parts.lines
    this.topic = topic
    this.seed = seed
    const { log, outbox = false } = options
    this.producer = new Producer({ millrace, historyFile, seed, topic, outbox })
    this.kafka =
      log === undefined
        ? undefined
        : new KafkaObserver(t, [log.brokers].flat(), topic, { transactional: outbox })
  }

  /** Makes everything; all of it ends with the test. */
  static async begin(t: TestContext, options: ChaosRunOptions): Promise<ChaosRun> {
    const { name, database, log, outbox = false, partitions = 4, faultless = false } = options
    // Others use the same brokers.
    const topic = log === undefined ? TOPIC : `${TOPIC}-${randomUUID()}`
    const seed = options.seed ?? seedOf(t)
    const directory = await mkdtemp(join(tmpdir(), 'millrace-chaos-'))
    const historyFile = join(directory, 'history.jsonl')
    cleanup(t, async () => {
      // The types lack it.
      const { passed } = t as TestContext & { readonly passed: boolean }
      if (passed) await rm(directory, { recursive: true, force: true })
      else console.error(`the history of ${name} is kept: ${historyFile}`)
    })
    appendEntry(historyFile, {
      entry: 'run',
      name,
      seed,
      application: APPLICATION,
      orderedHandlers: [LEDGER],
      onceHandlers: options.once === true ? [CALL, RECORD, LEDGER] : [],
      transactionalKinds: [RECORD],
      callingKinds: [CALL, RECORD],
      backoffMs: { [CALL]: PROMISED_BACKOFF_MS, [RECORD]: PROMISED_BACKOFF_MS },
      faultless,
      relocates: options.relocates ?? false,
      outages: options.outages ?? false,
      restored: options.restored ?? false,
    })
    await installShadow(database.pool)
    const effects = await effectServer(historyFile)
    cleanup(t, async () => effects[Symbol.asyncDispose]())
    const logger = keepingLogger()
    const millrace = await start({
      logger,
      database: named(options.url ?? database.url, 'producer'),
      poolSize: 4,
      migrate: false,
      queues: false,
      upkeep: false,
      ...(log === undefined ? {} : { log: kafka(log) }),
      relay: false,
      topics: {
        [topic]: { partitions },
        ...(outbox ? { [echoTopic(topic)]: { partitions } } : {}),
      },
      takeOverMs: 60_000,
    })
    cleanup(t, () => millrace.stop({ now: true }))
    const { lines } = logger
    const run = new ChaosRun(t, options, { historyFile, effects, millrace, lines, topic, seed })
    if (options.restored !== true) {
      void run.#repeat(() => run.#samplePositions())
      if (options.foreignOffsets !== true) void run.#repeat(() => run.#sampleCommitted())
    }
    cleanup(t, async () => {
      run.#sampling = false
      return Promise.resolve()
    })
    return run
  }

  /** Starts a worker process. */
  worker(told: Partial<WorkerConfig> & { readonly trap?: Trap } = {}): ChaosWorker {
    this.#workers += 1
    const { url, database, log, outbox = false, once = false, workers } = this.#options
    const name = told.name ?? `worker-${this.#workers}`
    const config: WorkerConfig = {
      ...UNTOUCHED,
      ...workers,
      historyFile: this.#historyFile,
      effectsUrl: this.effects.url,
      topic: this.topic,
      outbox,
      once,
      ...(log === undefined ? {} : { log: { ...log, clientId: name } }),
      ...told,
      name,
      databaseUrl: named(url ?? database.url, name),
    }
    const process = this.#spawn('worker.ts', config)
    const logged = (message: string): number =>
      process.events.filter(
        ({ event, line }) => event === 'log' && (line as { message: string }).message === message,
      ).length
    return Object.assign(Object.create(process) as Scenario, {
      name,
      logged,
      ready: async () => {
        await process.waitFor('ready', { timeoutMs: 30_000 })
      },
      trapped: async () => {
        const { at } = await process.waitFor('trap', { timeoutMs: 30_000 })
        if (config.trap?.signal === 'SIGKILL') await process.exited
        if (config.trap?.signal === 'SIGSTOP') await eventually(() => isStopped(process.pid))
        return at as number
      },
    })
  }

  /** Starts a process of an operator who works on dead letters by chance. */
  operator(told: Omit<OperatorConfig, 'databaseUrl'>): Scenario {
    const config: OperatorConfig = { ...told, databaseUrl: this.operatorUrl }
    return this.#spawn('operator-worker.ts', config)
  }

  get pool(): pg.Pool {
    return this.#options.database.pool
  }

  /** The database as an operator reaches it. */
  get operatorUrl(): string {
    return named(this.#options.database.url, 'operator')
  }

  /** Writes a fault down, and whether it was seen. */
  fault(
    name: string,
    target: string,
    start: number,
    evidence: { seen: boolean; text: string },
  ): void {
    this.#lastFaultAt = Date.now()
    appendEntry(this.#historyFile, {
      entry: 'fault',
      name,
      target,
      start,
      end: this.#lastFaultAt,
      seen: evidence.seen,
      evidence: evidence.text,
    })
  }

  /** Waits until nothing is left to do, at most `limitMs`, and writes down whether that was reached. */
  async quiet(limitMs: number): Promise<void> {
    const began = this.#lastFaultAt ?? this.#startedAt
    let left = ''
    let reached = true
    try {
      await eventually(
        async () => {
          const unread = await this.unread()
          const { rows } = await this.pool.query<{
            jobs: number
            states: string | null
            replays: number
          }>(JOBS_SQL)
          const { jobs = 0, states = null, replays = 0 } = rows[0] ?? {}
          left = `${unread} unread, ${jobs} jobs (${states}), ${replays} replays`
          const working = unread + jobs + replays
          if (working > 0 || this.#options.outbox !== true) return working === 0
          // What is on its way to the log is unread as well; there is nothing when it is looked at last.
          const { outbox, outboxAgeMs } = await this.millrace.summary()
          left = `${outbox} in the outbox, the oldest for ${outboxAgeMs} ms`
          return outbox === 0 && outboxAgeMs === null && (await this.unread()) === 0
        },
        { timeoutMs: Math.max(0, began + limitMs - Date.now()), intervalMs: 50 },
      )
    } catch {
      // The checker says what was left.
      reached = false
    }
    const afterMs = Date.now() - began
    appendEntry(this.#historyFile, { entry: 'quiet', reached, afterMs, limitMs, left })
  }

  /** How many offsets of the log are at or above the position of their partition. */
  async unread(): Promise<number> {
    const topic = await this.kafka?.topic()
    if (topic === undefined) {
      const { rows } = await this.pool.query<{ unread: number }>(UNREAD_SQL, [this.topic])
      return rows[0]?.unread ?? 0
    }
    const { rows } = await this.pool.query<{ partition: number; next: string }>(
      'select partition, next_offset::text as next from millrace.position where topic_id = $1',
      [topic.id],
    )
    const next = new Map(rows.map((row) => [row.partition, BigInt(row.next)]))
    return topic.partitions.reduce((unread, { start, end }, partition) => {
      const from = next.get(partition) ?? start
      return unread + (end > from ? Number(end - from) : 0)
    }, 0)
  }

  /** What the observers have written so far. */
  history(): HistoryEntry[] {
    return readHistory(this.#historyFile)
  }

  /** Sees what is in Kafka, and where the positions are, before the scenario takes some of it away. */
  async remember(): Promise<void> {
    await this.kafka?.look()
    this.#ended = (await readDumps(this.pool)).positions
  }

  /**
   * The log has lost the tail of a partition, after it was remembered and before anything else was written: what was there is
   * no longer asked for, and what will be there is for readings that an operator orders. Gives how far it reached before, and
   * reaches now.
   */
  async tailLost(partition = 0): Promise<{ readonly before: bigint; readonly after: bigint }> {
    assert.ok(this.kafka !== undefined, 'only what was seen in Kafka can be seen to be lost')
    const { rows } = await this.pool.query<{ generation: number }>(
      'select max(generation) as generation from millrace.position where partition = $1',
      [partition],
    )
    return this.kafka.loseTail(partition, rows[0]?.generation ?? 0)
  }

  /**
   * The log was compacted after it was remembered, and nobody has read since: what is gone unread is no longer asked for. Gives
   * how many are gone that were read, and that were not.
   */
  async compacted(): Promise<{ readonly read: number; readonly unread: number }> {
    assert.ok(this.kafka !== undefined, 'only what was seen in Kafka can be seen to be gone')
    const { positions } = await readDumps(this.pool)
    return this.kafka.compacted(new Map(positions.map(({ partition, next }) => [partition, next])))
  }

  /** Ends the observation and judges the run. */
  async verdict(): Promise<Verdict> {
    return (await this.evidence()).verdict
  }

  /** The verdict with what it was made of. */
  async evidence(): Promise<{ verdict: Verdict; dumps: Dumps; history: HistoryEntry[] }> {
    this.#sampling = false
    const { restored = false, foreignOffsets = false } = this.#options
    if (!restored && !foreignOffsets) await this.#sampleCommitted()
    const history = this.history()
    await this.kafka?.look()
    const stored = await readDumps(this.pool)
    const isThere = new Set(stored.positions.map(partitionOf))
    const ended = this.#ended.filter((position) => !isThere.has(partitionOf(position)))
    const all = { ...stored, positions: [...stored.positions, ...ended] }
    const completed = this.kafka?.complete(all) ?? all
    const dumps = this.#options.outbox === true ? await this.#withEchoes(completed) : completed
    return { verdict: check(history, dumps), dumps, history }
  }

  /** What handlers have published is no event of a producer, and stands for itself, in order within a key. */
  async #withEchoes(dumps: Dumps): Promise<Dumps> {
    const { log } = this.#options
    const topic = echoTopic(this.topic)
    if (log !== undefined) {
      const records = await readCommitted([log.brokers].flat(), topic)
      return { ...dumps, echoes: records.map(({ value }) => echoOf(value)) }
    }
    const { rows } = await this.pool.query<{ topicId: string; value: string }>(
      `select r.topic_id as "topicId", convert_from(r.value, 'UTF8') as value
       from millrace.record r join millrace.topic t on t.id = r.topic_id where t.name = $1
       order by r.partition, r."offset"`,
      [topic],
    )
    const ids = new Set(rows.map(({ topicId }) => topicId))
    const records = dumps.records.filter(({ topicId }) => !ids.has(topicId))
    return { ...dumps, records, echoes: rows.map(({ value }) => echoOf(value)) }
  }

  /** Ends the observation; fails unless everything holds and every fault was seen. */
  async pass(): Promise<Dumps> {
    const { verdict, dumps } = await this.evidence()
    assert.equal(verdict.result, 'pass', `${this.#options.name}: ${describeVerdict(verdict)}`)
    return dumps
  }

  /** A process of the run's sources, ended with the test. */
  #spawn(file: string, config: object): Scenario {
    const root = this.#options.root ?? join(import.meta.dirname, '..', '..')
    const process = spawnNode(this.#t, join(root, 'test', 'chaos', file), {
      env: { CHAOS_WORKER: JSON.stringify(config), NODE_COMPILE_CACHE: compileCache() },
    })
    cleanup(this.#t, async () => {
      process.kill('SIGKILL')
      await process.exited
    })
    return process
  }

  /** Looks again and again while the run goes on. */
  async #repeat(look: () => Promise<void>): Promise<void> {
    while (this.#sampling) {
      try {
        await look()
      } catch {
        // What is looked at is away, perhaps because the scenario took it away.
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 200).unref()
      })
    }
  }

  async #samplePositions(): Promise<void> {
    for (const place of await this.#positions())
      appendEntry(this.#historyFile, { entry: 'sample', ...place })
  }

  async #sampleCommitted(): Promise<void> {
    // First what may only lag, then what it may lag behind.
    const found = await this.kafka?.committed(APPLICATION)
    if (found === undefined || found.offsets.size === 0) return
    for (const place of await this.#positions()) {
      const committed = found.offsets.get(place.partition)
      if (place.topicId !== found.topicId || committed === undefined) continue
      appendEntry(this.#historyFile, { entry: 'committed', ...place, committed: `${committed}` })
    }
  }

  async #positions(): Promise<Omit<SampleEntry, 'entry'>[]> {
    const { rows } = await this.pool.query<Omit<SampleEntry, 'entry'>>(
      `select application, topic_id as "topicId", partition, generation, next_offset::text as next from millrace.position`,
    )
    return rows
  }
}

function echoOf(value: string | null): EchoDump {
  return JSON.parse(value ?? 'null') as EchoDump
}

const UNREAD_SQL = `select count(*)::int as unread from millrace.record r join millrace.topic t on t.id = r.topic_id
  where t.name = $1 and not exists (select from millrace.position p where p.topic_id = r.topic_id and p.partition = r.partition
    and p.next_offset > r."offset")`

const JOBS_SQL = `select coalesce(sum(n), 0)::int as jobs, string_agg(format('%s %s', n, state), ', ') as states,
  (select count(*) from millrace.replay where state = 'running')::int as replays
  from (select state, count(*) as n from millrace.job group by state) s`

/** `url` with the name by which the database's observers know this connection. */
function named(url: string, name: string): string {
  const copy = new URL(url)
  copy.searchParams.set('application_name', name)
  return copy.href
}
