import { abortReason, StopReason, throwIfAborted } from '../core/abort.ts'
import { failpoint } from '../core/failpoint.ts'
import type { Applied } from '../consumer/apply.ts'
import { BackPressure } from '../consumer/back-pressure.ts'
import type { BatchScope, Rereading } from '../consumer/batch-environment.ts'
import type { BoundApplication } from '../consumer/bind.ts'
import { settleItems, type CommitRange } from '../consumer/settle.ts'
import type { Item } from '../consumer/step.ts'
import { addCounts, METRICS } from '../counts/counts.ts'
import { writeDeadLetters, type NewDeadLetter } from '../dead-letter/dead-letter.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { rolledBack } from '../postgres/rolled-back.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'
import {
  LEAST_FOR_SHARE,
  passFence,
  untilLimit,
  type ChunkCounts,
  type Expected,
} from './outcomes.ts'
import type { Replay } from './replay.ts'

/**
 * Gives discarded jobs back to their queues, in the transaction that is given; resolves to the ids of those it did.
 * The others are not in the history any more, or in a state that has no way back.
 */
export type RetryJobs = (tx: Transaction, ids: readonly string[]) => Promise<ReadonlySet<string>>

/** Options of a replay's work. */
export interface ReplayRunOptions {
  readonly replay: Replay
  /** Undefined for jobs that no application made: they need no handler. */
  readonly bound: BoundApplication | undefined
  readonly environment: Pick<BoundApplication, 'core' | 'pool' | 'whenAlive' | 'codeVersion'>
  /** Id under which this process owns the replay. */
  readonly processId: string
  readonly retryJobs: RetryJobs
}

/** Most dead letters and bytes of a chunk, where the application does not say. */
const CHUNK = { records: 500, bytes: 4_194_304 } as const
/** With a rate, so many chunks a second: neither in bursts, nor a transaction for each. */
const CHUNKS_PER_SECOND = 4

/** How much of a replay is worked on at once. */
export interface ChunkLimits {
  readonly records: number
  readonly bytes: number
}

/** Applies items in a transaction; see `settleItems`. */
export type ApplyItems = Parameters<CommitRange>[1]

/** What would have become of items. */
export type Rehearsed = Pick<Applied, 'failed' | 'filtered'>

/**
 * What replays of dead letters and of past records have in common: chunk by chunk until nothing is left, at the pace that
 * was ordered, each chunk committed behind the fence.
 */
export abstract class ReplayWork {
  protected readonly options: ReplayRunOptions
  /** Aborted as well when a limit of the replay has ended it in the middle of a chunk. */
  protected readonly signal: AbortSignal
  readonly #ended = new AbortController()
  /** Its limits, and how many have passed and failed, are as they are now. */
  protected replay: Replay
  /** How many have passed or failed, in all. */
  protected tried: number
  readonly #backPressure: BackPressure | undefined

  constructor(options: ReplayRunOptions, signal: AbortSignal) {
    this.options = options
    this.replay = options.replay
    this.tried = Number(options.replay.passed + options.replay.failed)
    const { bound, replay } = options
    // What it makes counts as the application's backlog: it waits where reading waits.
    this.#backPressure =
      bound?.makesJobs === true && !replay.dryRun
        ? new BackPressure({ ...bound, ...bound.options.backlog })
        : undefined
    this.signal = AbortSignal.any([signal, this.#ended.signal])
  }

  /** Works on what is next, within limits; resolves to how much that was, 0 when nothing is left. */
  protected abstract chunk(limits: ChunkLimits): Promise<number>

  async run(): Promise<void> {
    const { environment } = this.options
    while (!this.#ended.signal.aborted) {
      throwIfAborted(this.signal)
      await environment.whenAlive(this.signal)
      await this.#backPressure?.ready(this.signal, (reason) => {
        if (reason === null) return
        const fields = { replay: String(this.replay.id), reason }
        environment.core.logger.info(fields, 'a replay waits')
      })
      const began = environment.core.clock.monotonicMs()
      let worked: number
      try {
        worked = await this.chunk(this.#limits())
      } catch (error) {
        // Its own limit has ended it, and that is committed.
        if (this.#ended.signal.aborted) return
        throw error
      }
      if (worked === 0) {
        await this.#finish()
        return
      }
      this.#backPressure?.added(worked)
      await this.#keepPace(worked, environment.core.clock.monotonicMs() - began)
    }
  }

  /** Ends it for a reason that only somebody can mend; it can be resumed. */
  protected async stop(note: string, state: 'stopped' | 'paused' = 'stopped'): Promise<never> {
    const { environment, processId } = this.options
    const { id, epoch } = this.replay
    await environment.pool.query(
      `/* millrace:replay-stop */ update millrace.replay
       set state = $5, note = $4, finished_at = case when $5 = 'stopped' then clock_timestamp() end, updated_at = clock_timestamp()
       where id = $1 and owner = $2 and epoch = $3 and state = 'running'`,
      [id, processId, epoch, note, state],
    )
    this.#ended.abort(new StopReason(note))
    throw abortReason(this.#ended.signal)
  }

  /** Our own limit comes first and knows whose time it was; the server's is for when we are not there to keep it. */
  protected get timeoutMs(): number {
    return Math.ceil((this.options.bound?.options.transactionTimeoutMs ?? 5_000) * 1.25)
  }

  /** What records need on their way through the handlers. No brake: a replay has limits of its own. */
  protected scope(rereading: Rereading): BatchScope {
    const { bound, processId } = this.options
    if (bound === undefined) throw new Error('records are replayed by an application')
    return {
      env: { ...bound, processId, brake: undefined, onWaiting: () => {} },
      about: { replay: String(this.replay.id) },
      signal: this.signal,
      rereading,
    }
  }

  /**
   * Takes prepared items to their ends, by transactions of `commit`, or of `rehearsed` after a transaction that was rolled
   * back; never more of them than may still fail.
   */
  protected async settle(
    scope: BatchScope,
    items: readonly Item[],
    ends: {
      readonly commit: (items: readonly Item[], apply: ApplyItems) => Promise<void>
      readonly rehearsed: (items: readonly Item[], applied: Rehearsed) => Promise<void>
    },
  ): Promise<void> {
    const done = new Set<Item>()
    const commit: CommitRange = async ({ from, to }, apply) => {
      let left = items.slice(from, to).filter((item) => !done.has(item))
      while (left.length > 0) {
        const wanted = this.#withinLimit(left)
        if (this.replay.dryRun) await ends.rehearsed(wanted, await this.#rehearse(wanted, apply))
        else await ends.commit(wanted, apply)
        for (const item of wanted) done.add(item)
        left = left.slice(wanted.length)
      }
    }
    await settleItems(scope, items, { from: 0, to: items.length }, commit)
  }

  /** One transaction of a chunk: what `action` writes, then the fence, then what only its owner may write. */
  protected async transact(
    action: (
      tx: Transaction,
    ) => Promise<{ readonly counts: ChunkCounts; readonly asOwner?: () => Promise<void> }>,
    committed: (db: Queryable) => Promise<boolean>,
  ): Promise<void> {
    const { environment, processId } = this.options
    let counts: ChunkCounts = { passed: 0, failed: 0, skipped: 0, parked: 0 }
    let goesOn = true
    await transaction(
      environment.pool,
      environment.core,
      async (tx) => {
        const done = await action(tx)
        counts = done.counts
        await failpoint('replay:before-outcomes')
        const standing = await passFence(tx, this.replay, processId, counts)
        await done.asOwner?.()
        await failpoint('replay:before-commit')
        goesOn = standing.goesOn
      },
      { timeoutMs: this.timeoutMs, committed },
    )
    await failpoint('replay:after-commit')
    this.tried += counts.passed + counts.failed
    const { passed, failed } = this.replay
    this.replay = {
      ...this.replay,
      passed: passed + BigInt(counts.passed),
      failed: failed + BigInt(counts.failed),
    }
    if (!goesOn) {
      this.#ended.abort(new StopReason('the replay has reached a limit of its own'))
      throw abortReason(this.#ended.signal)
    }
  }

  /** Dead letters of their own, and the count of them, in a transaction of a chunk. */
  protected async setAside(tx: Queryable, letters: readonly NewDeadLetter[]): Promise<void> {
    const delta = await writeDeadLetters(tx, letters)
    const label = this.replay.application ?? ''
    await addCounts(tx, [{ metric: METRICS.deadLetters, label, delta }])
  }

  #limits(): ChunkLimits {
    const { bound } = this.options
    const { rate, canary, stopShare } = this.replay
    const { batchRecords: records, batchBytes: bytes } = bound?.options ?? {
      batchRecords: CHUNK.records,
      batchBytes: CHUNK.bytes,
    }
    const bounds = [records]
    if (rate !== null) bounds.push(Math.max(1, Math.ceil(rate / CHUNKS_PER_SECOND)))
    if (canary !== null && this.tried < canary) bounds.push(canary - this.tried)
    // Nothing is prepared in vain that the share may turn out to forbid.
    if (stopShare !== null && this.tried < LEAST_FOR_SHARE)
      bounds.push(LEAST_FOR_SHARE - this.tried)
    return { records: Math.min(...bounds), bytes }
  }

  async #keepPace(count: number, tookMs: number): Promise<void> {
    const { rate } = this.replay
    if (rate === null) return
    const waitMs = (count / rate) * 1_000 - tookMs
    if (waitMs > 0) await this.options.environment.core.clock.sleep(waitMs, { signal: this.signal })
  }

  /** How many of these may be tried together: no more than may still fail. */
  protected untilLimit(expected: readonly Expected[]): number {
    const { passed, failed } = this.replay
    return untilLimit(this.replay, { passed: Number(passed), failed: Number(failed) }, expected)
  }

  /** No more of them than may still fail: what is known to fail before anything is applied is counted. */
  #withinLimit(items: readonly Item[]): readonly Item[] {
    const expected = items.map(({ filtered, rejected, steps }): Expected => {
      if (filtered !== undefined) return 'neither'
      const fails = rejected !== undefined || steps.some(({ failure }) => failure !== undefined)
      return fails ? 'failed' : 'passed'
    })
    return items.slice(0, this.untilLimit(expected))
  }

  /** Applies for real, and rolls back. */
  async #rehearse(items: readonly Item[], apply: ApplyItems): Promise<Rehearsed> {
    const { core, pool } = this.options.environment
    const run = async (tx: Transaction): Promise<Rehearsed> => {
      const applied = await apply(tx, items)
      // Nothing is committed, so what is checked at a commit is checked now.
      await tx.query('/* millrace:constraints */ set constraints all immediate')
      return applied
    }
    return rolledBack(pool, core, run, { timeoutMs: this.timeoutMs })
  }

  async #finish(): Promise<void> {
    const { environment, processId } = this.options
    const { id, epoch } = this.replay
    await environment.pool.query(
      `/* millrace:replay-finish */ update millrace.replay
       set state = 'finished', finished_at = clock_timestamp(), updated_at = clock_timestamp(), next_id = end_id, owner = null
       where id = $1 and owner = $2 and epoch = $3 and state = 'running'`,
      [id, processId, epoch],
    )
  }
}
