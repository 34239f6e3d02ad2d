import { deadLetterOf, describeFailure, type FailedRecord } from '../consumer/apply.ts'
import type { BatchScope } from '../consumer/batch-environment.ts'
import { toItem } from '../consumer/items.ts'
import { prepareItems } from '../consumer/prepare.ts'
import type { Item } from '../consumer/step.ts'
import { failpoint } from '../core/failpoint.ts'
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
import type { Transaction } from '../postgres/transaction.ts'
import { countOutcomes, outcomeIsThere, writeOutcomes, type ReplayOutcome } from './outcomes.ts'
import { ReplayWork, type ApplyItems, type ChunkLimits } from './replay-work.ts'

/**
 * Works through dead letters: read what is next, decode and prepare it, then in one transaction: hold the dead letters,
 * apply, note the outcomes, pass the fence.
 */
export class LettersRun extends ReplayWork {
  protected override async chunk(limits: ChunkLimits): Promise<number> {
    const { pool } = this.options.environment
    const { replay, signal } = this
    const letters = await nextLetters(pool, replay.selection, replay, limits, signal)
    await failpoint('replay:read')
    const ofJobs = letters.filter(({ stage }) => stage === 'job')
    const ofRecords = letters.filter(({ stage }) => stage !== 'job')
    if (ofRecords.length > 0) await this.#records(ofRecords)
    await this.#allJobs(ofJobs)
    this.replay = { ...this.replay, next: (letters.at(-1)?.id ?? this.replay.next) + 1n }
    return letters.length
  }

  async #records(letters: readonly LetterToReplay[]): Promise<void> {
    const scope = this.scope('dead-letters')
    const letterOf = new Map<Item, LetterToReplay>()
    for (const letter of letters) letterOf.set(await itemOf(scope, letter), letter)
    const items = [...letterOf.keys()]
    await prepareItems(scope, items)
    await this.settle(scope, items, {
      commit: (some, apply) => this.#commit(some, letterOf, apply),
      rehearsed: (some, { failed }) => {
        const failedBy = Map.groupBy(failed, ({ item }) => item)
        const rehearsed = some.map((item) => letterOf.get(item) as LetterToReplay)
        return this.#note(rehearsed, () =>
          Promise.resolve({
            outcomes: some.map((item, index) =>
              outcomeOf(rehearsed[index] as LetterToReplay, true, failedBy.get(item)),
            ),
            parked: 0,
          }),
        )
      },
    })
  }

  async #commit(
    items: readonly Item[],
    letterOf: ReadonlyMap<Item, LetterToReplay>,
    apply: ApplyItems,
  ): Promise<void> {
    const letters = items.map((item) => letterOf.get(item) as LetterToReplay)
    await this.#note(letters, async (tx) => {
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
    const { bound, environment } = this.options
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
      const { stage, attempts } = first
      const handler = handlerOf(letter, first)
      again.push({ id: letter.id, handler, stage, attempts, error: describeFailure(first) })
      others.push(...rest)
    }
    if (bound !== undefined) {
      await this.setAside(
        tx,
        others.map((one) => deadLetterOf(bound, one)),
      )
    }
    return noteFailedAgain(tx, again, { codeVersion, maxReplays: this.replay.maxReplays })
  }

  /** No more of them at once than may still fail; and behind a canary, somebody is to look at how they went. */
  async #allJobs(letters: readonly LetterToReplay[]): Promise<void> {
    const { canary } = this.replay
    const triedBefore = this.tried
    for (let at = 0; at < letters.length; ) {
      const left = letters.slice(at)
      // Which of them are gone shows only when they are given back.
      const some = left.slice(0, this.untilLimit(left.map(() => 'failed')))
      await this.#jobs(some)
      at += some.length
    }
    const isCanary = canary !== null && triedBefore < canary && this.tried >= canary
    if (isCanary && letters.length > 0 && !this.replay.dryRun) {
      const jobs = letters.length === 1 ? '1 job was' : `${letters.length} jobs were`
      await this.stop(
        `${jobs} given back to their queue as a canary: resume when they have gone well`,
        'paused',
      )
    }
  }

  /** Jobs go back to their queues: whether they succeed is seen there. */
  async #jobs(letters: readonly LetterToReplay[]): Promise<void> {
    const { retryJobs } = this.options
    if (this.replay.dryRun) {
      const error = describeError(new MillraceError('E_JOB_STATE', NOT_TRIED))
      await this.#note(letters, () =>
        Promise.resolve({
          outcomes: letters.map(({ id }) => ({ id, outcome: 'not-run' as const, error })),
          parked: 0,
        }),
      )
      return
    }
    await this.#note(letters, async (tx) => {
      const open = await lockLetters(tx, letters)
      const jobs = letters.filter(({ id }) => open.has(id))
      const back = await retryJobs(
        tx,
        jobs.map(({ jobId }) => jobId as string),
      )
      await closeReplayed(
        tx,
        jobs.filter(({ jobId }) => back.has(jobId as string)).map(({ id }) => id),
        this.replay.maxReplays,
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

  async #note(
    letters: readonly LetterToReplay[],
    action: (
      tx: Transaction,
    ) => Promise<{ readonly outcomes: readonly ReplayOutcome[]; readonly parked: number }>,
  ): Promise<void> {
    const first = letters[0]
    if (first === undefined) return
    await this.transact(
      async (tx) => {
        const { outcomes, parked } = await action(tx)
        return {
          counts: countOutcomes(outcomes, parked),
          asOwner: () => writeOutcomes(tx, this.replay, outcomes),
        }
      },
      (db) => outcomeIsThere(db, this.replay, first.id),
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
  if (item.rejected !== undefined) return item
  // Live records that nobody handles are filtered; a dead letter is not done by that.
  if (item.filtered !== undefined) return rejected(item, `nobody handles it: ${item.filtered}`)
  if (letter.handler === '*') return item
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

/** What could not be read for anybody may be read now, and fail for some: the first of them keeps the row. */
function handlerOf(letter: LetterToReplay, first: FailedRecord): string {
  return letter.handler === '*' ? first.handler : letter.handler
}

function outcomeOf(
  letter: LetterToReplay,
  isOpen: boolean,
  failed: readonly FailedRecord[] | undefined,
): ReplayOutcome {
  const { id } = letter
  if (!isOpen) return { id, outcome: 'skipped' }
  const first = failed?.[0]
  if (first === undefined) return { id, outcome: 'passed' }
  const described = describeFailure(first)
  const told = { stage: first.stage, handler: handlerOf(letter, first), error: described }
  // The dead letter itself keeps the stack.
  const { stack: _, ...error } = described
  return { id, outcome: 'failed', error, fingerprint: fingerprintOf(told) }
}
