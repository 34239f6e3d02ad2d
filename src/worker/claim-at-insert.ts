import {
  insertClaimedJobs,
  insertJobs,
  type InsertClaim,
  type InsertedPlace,
} from '../jobs/insert.ts'
import type { NewJob } from '../jobs/new-job.ts'
import type { JobWaker } from '../jobs/wake.ts'
import type { Transaction } from '../postgres/transaction.ts'
import type { ClaimedJob } from './claimed-job.ts'

/** Options of {@link ClaimAtInsert}. */
export interface ClaimAtInsertOptions {
  readonly waker: Pick<JobWaker, 'wake'>
  /** Places that are promised; each is given back. */
  readonly places: number
  giveBack(places: number): void
  /** Places for jobs that are not promised but there: it may be long since they were promised. */
  room(): number
  /** Names a claim of so many jobs, before it is sent. */
  begin(): InsertClaim
  /** The others are committed, and stand in line from this place on. */
  waits(place: number): void
  /** The claim is committed, and these are its jobs. */
  took(claim: InsertClaim, jobs: readonly ClaimedJob[]): void
  /** Nobody heard that the claim was committed: perhaps it was. */
  lost(token: string): void
}

/**
 * Jobs that are claimed as they are inserted, as many as there are places for; the others stand in line.
 *
 * The claim is part of the transaction that makes the jobs. Walked through for a crash: before the commit there is nothing;
 * after it, the rows say that this process executes them, as after any claim, so upkeep takes them back when it is dead.
 * When the process lives and has not heard of the commit, the token is held by nobody, and the jobs are handed back as those
 * of a claim whose reply was lost (`lost-claims.ts`). Nothing is started before the commit is known.
 */
export class ClaimAtInsert implements Disposable {
  readonly #options: ClaimAtInsertOptions
  readonly #open = new Set<string>()
  /** Places that are promised and used by no insert; and those used by one that has not been committed. */
  #left: number
  #taken = 0

  constructor(options: ClaimAtInsertOptions) {
    this.#options = options
    this.#left = options.places
  }

  /** Places that are left. */
  get places(): number {
    return this.#left
  }

  /** Inserts jobs of the queue and kind that the places are for, none of them with a due time. */
  async insert(tx: Transaction, jobs: readonly NewJob[]): Promise<void> {
    const { waker, giveBack, room, begin, waits, took } = this.#options
    const mine = jobs.slice(0, Math.min(this.#left, room()))
    this.#left -= mine.length
    this.#taken += mine.length
    const claim = mine.length > 0 ? begin() : undefined
    if (claim !== undefined) this.#open.add(claim.token)
    const places = claim === undefined ? [] : await insertClaimedJobs(tx, mine, claim)
    const { wakes } = await insertJobs(tx, jobs.slice(mine.length))
    tx.afterCommit(() => {
      // The line is told first, so that nothing is promised to others while these stand in it.
      for (const { place } of wakes) waits(place)
      if (claim !== undefined) {
        this.#open.delete(claim.token)
        took(
          claim,
          mine.map((job, index) => claimedJob(job, places[index] as InsertedPlace, claim)),
        )
        giveBack(mine.length)
        this.#taken -= mine.length
      }
      waker.wake(wakes)
    })
  }

  [Symbol.dispose](): void {
    const { giveBack, lost } = this.#options
    for (const token of this.#open) lost(token)
    this.#open.clear()
    giveBack(this.#left + this.#taken)
    this.#left = 0
    this.#taken = 0
  }
}

function claimedJob(
  { id, kind, priority, maxAttempts, argsJson, metaJson, queue }: NewJob,
  { place, tid }: InsertedPlace,
  { token, processId }: InsertClaim,
): ClaimedJob {
  return {
    id,
    kind,
    priority,
    place,
    attempt: 1,
    maxAttempts,
    argsJson,
    metaJson,
    tid,
    queue,
    token,
    processId,
  }
}
