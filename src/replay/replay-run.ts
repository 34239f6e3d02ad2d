import { abortReason, StopReason, throwIfAborted } from '../core/abort.ts'
import { failpoint } from '../core/failpoint.ts'
import { deadLetterOf, describeFailure, type FailedRecord } from '../consumer/apply.ts'
import type { BatchScope } from '../consumer/batch-environment.ts'
import type { BoundApplication } from '../consumer/bind.ts'
import { toItem } from '../consumer/items.ts'
import { prepareItems } from '../consumer/prepare.ts'
import { settleItems, type CommitRange } from '../consumer/settle.ts'
import type { Item } from '../consumer/step.ts'
import { writeDeadLetters } from '../dead-letter/dead-letter.ts'
import { fingerprintOf } from '../dead-letter/fingerprint.ts'
import {
  closeReplayed,
  lockLetters,
  nextLetters,
  noteFailedAgain,
  type LetterToReplay,
} from '../dead-letter/replayed.ts'
import { describeError } from '../errors/describe.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'
import { outcomeIsThere, writeOutcomes, type ReplayOutcome } from './outcomes.ts'
import type { Replay } from './replay.ts'

/**
 * Gives discarded jobs back to their queues, in the transaction that is given; resolves to the ids of those it did.
 * The others are not in the history any more, or in a state that has no way back.
 */
export type RetryJobs = (tx: Transaction, ids: readonly string[]) => Promise<ReadonlySet<string>>

/** Options of {@link runReplay}. */
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

/**
 * Works through a replay until nothing is left, its limits end it, or `signal` is aborted. Chunk by chunk: read what is
 * next, decode and prepare it, then in one transaction: hold the dead letters, apply, note the outcomes, pass the fence.
 * @throws E_CONSUMER_NOT_OWNER when it is somebody else's, or held; the signal's reason.
 */
export async function runReplay(options: ReplayRunOptions, signal: AbortSignal): Promise<void> {
  await new ReplayRun(options, signal).run()
}

class ReplayRun {
  readonly #options: ReplayRunOptions
  /** Aborted as well when a limit of the replay has ended it in the middle of a chunk. */
  readonly #signal: AbortSignal
  readonly #ended = new AbortController()
  #replay: Replay
  #tried: number

  constructor(options: ReplayRunOptions, signal: AbortSignal) {
    this.#options = options
    this.#replay = options.replay
    this.#tried = Number(options.replay.passed + options.replay.failed)
    this.#signal = AbortSignal.any([signal, this.#ended.signal])
  }

  async run(): Promise<void> {
    const { environment } = this.#options
    const { core, pool } = environment
    while (!this.#ended.signal.aborted) {
      throwIfAborted(this.#signal)
      await environment.whenAlive(this.#signal)
      const began = core.clock.monotonicMs()
      const limits = this.#limits()
      const letters = await nextLetters(pool, this.#replay.selection, this.#replay, limits)
      await failpoint('replay:read')
      if (letters.length === 0) {
        await this.#finish()
        return
      }
      try {
        await this.#chunk(letters)
      } catch (error) {
        // Its own limit has ended it, and that is committed.
        if (this.#ended.signal.aborted) return
        throw error
      }
      this.#replay = { ...this.#replay, next: (letters.at(-1)?.id ?? this.#replay.next) + 1n }
      await this.#keepPace(letters.length, core.clock.monotonicMs() - began)
    }
  }

  /** Our own limit comes first and knows whose time it was; the server's is for when we are not there to keep it. */
  get #timeoutMs(): number {
    return Math.ceil((this.#options.bound?.options.transactionTimeoutMs ?? 5_000) * 1.25)
  }

  #limits(): { readonly records: number; readonly bytes: number } {
    const { bound } = this.#options
    const { rate, canary } = this.#replay
    const { batchRecords: records, batchBytes: bytes } = bound?.options ?? {
      batchRecords: CHUNK.records,
      batchBytes: CHUNK.bytes,
    }
    const bounds = [records]
    if (rate !== null) bounds.push(Math.max(1, Math.ceil(rate / CHUNKS_PER_SECOND)))
    if (canary !== null && this.#tried < canary) bounds.push(canary - this.#tried)
    return { records: Math.min(...bounds), bytes }
  }

  async #keepPace(count: number, tookMs: number): Promise<void> {
    const { rate } = this.#replay
    if (rate === null) return
    const waitMs = (count / rate) * 1_000 - tookMs
    if (waitMs > 0)
      await this.#options.environment.core.clock.sleep(waitMs, { signal: this.#signal })
  }

  async #chunk(letters: readonly LetterToReplay[]): Promise<void> {
    const ofJobs = letters.filter(({ stage }) => stage === 'job')
    const ofRecords = letters.filter(({ stage }) => stage !== 'job')
    if (ofRecords.length > 0) await this.#records(ofRecords)
    if (ofJobs.length > 0) await this.#jobs(ofJobs)
  }

  async #records(letters: readonly LetterToReplay[]): Promise<void> {
    const { bound, processId } = this.#options
    if (bound === undefined)
      throw new Error('records are replayed by the application they failed in')
    const scope: BatchScope = {
      // No brake: a replay has limits of its own.
      env: { ...bound, processId, brake: undefined, onWaiting: () => {} },
      about: { replay: String(this.#replay.id) },
      signal: this.#signal,
    }
    const letterOf = new Map<Item, LetterToReplay>()
    for (const letter of letters) letterOf.set(await itemOf(scope, letter), letter)
    const items = [...letterOf.keys()]
    await prepareItems(scope, items)
    const done = new Set<Item>()
    const commit: CommitRange = async ({ from, to }, apply) => {
      let left = items.slice(from, to).filter((item) => !done.has(item))
      while (left.length > 0) {
        const wanted = this.#withinLimit(left)
        if (this.#replay.dryRun) await this.#rehearse(wanted, letterOf, apply)
        else await this.#commit(wanted, letterOf, apply)
        for (const item of wanted) done.add(item)
        left = left.slice(wanted.length)
      }
    }
    await settleItems(scope, items, { from: 0, to: items.length }, commit)
  }

  /** No more of them than may still fail: what is known to fail before anything is applied is counted. */
  #withinLimit(items: readonly Item[]): readonly Item[] {
    const { stopAfter } = this.#replay
    if (stopAfter === null) return items
    let left = stopAfter - Number(this.#replay.failed)
    for (const [index, { rejected, steps }] of items.entries()) {
      const fails = rejected !== undefined || steps.some(({ failure }) => failure !== undefined)
      if (fails && (left -= 1) <= 0) return items.slice(0, index + 1)
    }
    return items
  }

  async #commit(
    items: readonly Item[],
    letterOf: ReadonlyMap<Item, LetterToReplay>,
    apply: Parameters<CommitRange>[1],
  ): Promise<void> {
    const letters = items.map((item) => letterOf.get(item) as LetterToReplay)
    await this.#transact(letters, async (tx) => {
      const open = await lockLetters(tx, letters)
      const isOpen = (item: Item): boolean => open.has((letterOf.get(item) as LetterToReplay).id)
      const { failed } = await apply(tx, items.filter(isOpen))
      const failedBy = Map.groupBy(failed, ({ item }) => item)
      const outcomes = items.map((item) =>
        outcomeOf(letterOf.get(item) as LetterToReplay, isOpen(item), failedBy.get(item)),
      )
      const parked = await this.#noteRows(tx, outcomes, failedBy, letterOf)
      return { outcomes, parked }
    })
  }

  /** The dead letters themselves: closed, or the same ones with their new error. */
  async #noteRows(
    tx: Transaction,
    outcomes: readonly ReplayOutcome[],
    failedBy: ReadonlyMap<Item, readonly FailedRecord[]>,
    letterOf: ReadonlyMap<Item, LetterToReplay>,
  ): Promise<number> {
    const { bound, environment } = this.#options
    const { codeVersion } = environment
    await closeReplayed(
      tx,
      outcomes.filter(({ outcome }) => outcome === 'passed').map(({ id }) => id),
    )
    const again = []
    const others: FailedRecord[] = []
    for (const [item, [first, ...rest]] of failedBy) {
      const letter = letterOf.get(item) as LetterToReplay
      if (first === undefined) continue
      // What could not be read for anybody may be read now, and fail for some: the first keeps the row.
      const handler = letter.handler === '*' ? first.handler : letter.handler
      const { stage, attempts } = first
      again.push({ id: letter.id, handler, stage, attempts, error: describeFailure(first) })
      others.push(...rest)
    }
    if (bound !== undefined) {
      await writeDeadLetters(
        tx,
        others.map((one) => deadLetterOf(bound, one)),
      )
    }
    return noteFailedAgain(tx, again, { codeVersion, maxReplays: this.#replay.maxReplays })
  }

  /** Applies for real, rolls back, and then notes what came of it. */
  async #rehearse(
    items: readonly Item[],
    letterOf: ReadonlyMap<Item, LetterToReplay>,
    apply: Parameters<CommitRange>[1],
  ): Promise<void> {
    const { core, pool } = this.#options.environment
    let failed: readonly FailedRecord[] | undefined
    const rolledBack = new StopReason('a dry run is rolled back')
    const rehearsal = transaction(
      pool,
      core,
      async (tx) => {
        failed = (await apply(tx, items)).failed
        throw rolledBack
      },
      { timeoutMs: this.#timeoutMs },
    )
    await rehearsal.catch((error: unknown) => {
      if (error !== rolledBack) throw error
    })
    const failedBy = Map.groupBy(failed ?? [], ({ item }) => item)
    const letters = items.map((item) => letterOf.get(item) as LetterToReplay)
    await this.#transact(letters, () =>
      Promise.resolve({
        outcomes: items.map((item, index) =>
          outcomeOf(letters[index] as LetterToReplay, true, failedBy.get(item)),
        ),
        parked: 0,
      }),
    )
  }

  /** Jobs go back to their queues: whether they succeed is seen there. */
  async #jobs(letters: readonly LetterToReplay[]): Promise<void> {
    const { retryJobs } = this.#options
    if (this.#replay.dryRun) {
      const error = describeError(new MillraceError('E_JOB_STATE', NOT_TRIED))
      await this.#transact(letters, () =>
        Promise.resolve({
          outcomes: letters.map(({ id }) => ({ id, outcome: 'not-run' as const, error })),
          parked: 0,
        }),
      )
      return
    }
    await this.#transact(letters, async (tx) => {
      const open = await lockLetters(tx, letters)
      const jobs = letters.filter(({ id }) => open.has(id))
      const back = await retryJobs(
        tx,
        jobs.map(({ jobId }) => jobId as string),
      )
      await closeReplayed(
        tx,
        jobs.filter(({ jobId }) => back.has(jobId as string)).map(({ id }) => id),
      )
      const outcomes = letters.map((letter): ReplayOutcome => {
        if (!open.has(letter.id)) return { id: letter.id, outcome: 'skipped' }
        if (back.has(letter.jobId as string)) return { id: letter.id, outcome: 'passed' }
        const error = new MillraceError('E_JOB_STATE', GONE, { details: { jobId: letter.jobId } })
        return { id: letter.id, outcome: 'failed', error: describeError(error) }
      })
      return { outcomes, parked: 0 }
    })
  }

  async #transact(
    letters: readonly LetterToReplay[],
    action: (
      tx: Transaction,
    ) => Promise<{ readonly outcomes: readonly ReplayOutcome[]; readonly parked: number }>,
  ): Promise<void> {
    const { environment, processId } = this.#options
    const first = letters[0]
    if (first === undefined) return
    let tried = 0
    let failedNow = 0
    let goesOn = true
    await transaction(
      environment.pool,
      environment.core,
      async (tx) => {
        const { outcomes, parked } = await action(tx)
        await failpoint('replay:before-outcomes')
        const standing = await writeOutcomes(tx, this.#replay, processId, outcomes, parked)
        await failpoint('replay:before-commit')
        failedNow = outcomes.filter(({ outcome }) => outcome === 'failed').length
        tried = outcomes.filter(({ outcome }) => outcome === 'passed').length + failedNow
        goesOn = standing.goesOn
      },
      {
        timeoutMs: this.#timeoutMs,
        committed: (db) => outcomeIsThere(db, this.#replay, first.id),
      },
    )
    await failpoint('replay:after-commit')
    this.#tried += tried
    this.#replay = { ...this.#replay, failed: this.#replay.failed + BigInt(failedNow) }
    if (!goesOn) {
      this.#ended.abort(new StopReason('the replay has reached a limit of its own'))
      throw abortReason(this.#ended.signal)
    }
  }

  async #finish(): Promise<void> {
    const { environment, processId } = this.#options
    const { id, epoch } = this.#replay
    await environment.pool.query(
      `/* millrace:replay-finish */ update millrace.replay
       set state = 'finished', finished_at = clock_timestamp(), updated_at = clock_timestamp(), next_id = end_id, owner = null
       where id = $1 and owner = $2 and epoch = $3 and state = 'running'`,
      [id, processId, epoch],
    )
  }
}

const NOT_TRIED =
  'a job cannot be tried without executing it; a replay that is no dry run gives it back to its queue'
const GONE =
  'the job is not in the history any more, or in a state without a way back; its args are kept here: insert a new one'

const UNKNOWN_ORIGIN =
  'another program set this record aside and does not say of which topic it was, so nobody knows who is to handle it'

/** A dead letter as an item of a batch, for the handlers that it concerns. */
async function itemOf(scope: BatchScope, letter: LetterToReplay): Promise<Item> {
  const { topic, topicId, partition, offset, timestamp, key, value, headers } = letter
  const record = { topic, topicId, partition, offset, timestamp, key, value, headers }
  const item = await toItem(scope, record, letter.generation)
  if (item.taken !== undefined) return rejected(item, UNKNOWN_ORIGIN)
  if (item.rejected !== undefined || letter.handler === '*') return item
  const steps = item.steps.filter(({ handler }) => handler.name === letter.handler)
  if (steps.length > 0) return { ...item, steps }
  return rejected(
    item,
    `the code that is deployed now has no handler '${letter.handler}' for this record; deploy one of that name, or discard the dead letter`,
  )
}

function rejected(item: Item, why: string): Item {
  const error = new MillraceError('E_EVENT_INVALID', why)
  const { record, generation } = item
  const said = { kind: 'rejected', stage: 'validate', error } as const
  return { record, generation, steps: [], filtered: undefined, rejected: said }
}

function outcomeOf(
  { id }: LetterToReplay,
  isOpen: boolean,
  failed: readonly FailedRecord[] | undefined,
): ReplayOutcome {
  if (!isOpen) return { id, outcome: 'skipped' }
  const first = failed?.[0]
  if (first === undefined) return { id, outcome: 'passed' }
  const { stage, handler } = first
  const error = describeFailure(first)
  return { id, outcome: 'failed', error, fingerprint: fingerprintOf({ stage, handler, error }) }
}
