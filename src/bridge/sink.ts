import type { Core } from '../core/core.ts'
import { insertJobs, insertJobsNow } from '../jobs/insert.ts'
import type { NewJob } from '../jobs/new-job.ts'
import type { JobWaker, QueueWake } from '../jobs/wake.ts'
import type { Log, NewRecord } from '../log/port.ts'
import { isRelayLog } from '../log/relay-port.ts'
import { wakeLog } from '../log/wake.ts'
import { appendToOutbox } from '../outbox/append.ts'
import { wakeRelays } from '../outbox/wake.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'

/** Where what is published and inserted goes. Nothing is done for nothing. */
export interface Sink {
  append(records: readonly NewRecord[]): Promise<void>
  /** What cannot be made leaves none of them. */
  insert(jobs: Iterable<NewJob>): Promise<void>
}

interface Environment {
  readonly core: Core
  readonly pool: Pool
  readonly log: Log
  readonly waker: Pick<JobWaker, 'wake'>
}

/** What was written, and so whom to wake once it is committed. */
export class Wakes {
  readonly #topics = new Set<string>()
  readonly #shards = new Set<number>()
  readonly #queues: QueueWake[] = []

  topic(id: string): void {
    this.#topics.add(id)
  }

  shards(shards: readonly number[]): void {
    for (const shard of shards) this.#shards.add(shard)
  }

  queues(wakes: readonly QueueWake[]): void {
    this.#queues.push(...wakes)
  }

  /** Wakes everybody. A lost wake-up costs a poll, so its failure is nobody's. */
  async send({ core, pool, waker }: Omit<Environment, 'log'>): Promise<void> {
    waker.wake(this.#queues)
    try {
      if (this.#topics.size > 0) await wakeLog(pool, this.#topics)
      if (this.#shards.size > 0) await wakeRelays(pool, this.#shards)
    } catch (error) {
      core.logger.debug({ error }, 'no wake-up sent; polling finds it')
    }
    this.#topics.clear()
    this.#shards.clear()
    this.#queues.length = 0
  }
}

/**
 * Writes at once, through `db`, which is in a transaction; tells `wakes` whom to wake afterwards. On a log that cannot take
 * part in the transaction, records go to the outbox.
 */
export function directSink(
  { core, log }: Pick<Environment, 'core' | 'log'>,
  db: Queryable,
  wakes: Wakes,
): Sink {
  return {
    async append(records) {
      if (log.transactional) {
        for (const { topicId } of await log.append(records, { tx: db })) wakes.topic(topicId)
      } else {
        // In the transaction that wants it: behind it, nobody is left to tell.
        if (isRelayLog(log)) log.checkRelayed(records)
        wakes.shards(await appendToOutbox(db, core, records))
      }
    },
    async insert(jobs) {
      // All are made before the first is inserted: the transaction is somebody's who may go on with it.
      wakes.queues((await insertJobs(db, [...jobs])).wakes)
    },
  }
}

/** Writes each by itself, committed when its promise resolves. A log outside of the database is appended to directly. */
export function autonomousSink(env: Environment): Sink {
  return {
    append: async (records) => {
      if (!env.log.transactional) {
        await env.log.append(records)
        return
      }
      const wakes = new Wakes()
      await transaction(env.pool, env.core, async (tx) => {
        tx.afterCommit(() => wakes.send(env))
        await directSink(env, tx, wakes).append(records)
      })
    },
    async insert(jobs) {
      await insertJobsNow(env, jobs)
    },
  }
}

/**
 * Collects what the records of a batch write, and writes it before the position moves: one statement for all records and
 * one for all jobs, in the order in which they came.
 */
export class BatchSinks {
  readonly #env: Environment
  readonly #sinks = new WeakMap<Transaction, Sink>()

  constructor(env: Environment) {
    this.#env = env
  }

  /** The sink of a transaction, the same for all that happens in it. */
  of(tx: Transaction): Sink {
    const known = this.#sinks.get(tx)
    if (known !== undefined) return known
    const records: NewRecord[] = []
    const jobs: NewJob[] = []
    const wakes = new Wakes()
    const direct = directSink(this.#env, tx, wakes)
    let waiting = false
    const collect = async <T>(into: T[], more: readonly T[]): Promise<void> => {
      tx.assertOpen()
      for (const one of more) into.push(one)
      if (!waiting) {
        waiting = true
        tx.beforeCommit(async () => {
          waiting = false
          await direct.append(records.splice(0))
          await direct.insert(jobs.splice(0))
        })
      }
    }
    const sink: Sink = {
      append: (more) => collect(records, more),
      insert: async (more) => collect(jobs, [...more]),
    }
    this.#sinks.set(tx, sink)
    tx.afterCommit(() => wakes.send(this.#env))
    return sink
  }
}
