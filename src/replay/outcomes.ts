import { addCounts, METRICS } from '../counts/counts.ts'
import type { ErrorDescription } from '../errors/describe.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { plainArray, textArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { Replay } from './replay.ts'

/** What became of a dead letter in a replay. */
export interface ReplayOutcome {
  readonly id: bigint
  readonly outcome: 'passed' | 'failed' | 'skipped' | 'not-run'
  /** Why, where it did not pass. */
  readonly error?: ErrorDescription
  /** Of the failure; the same for the same cause. */
  readonly fingerprint?: string
}

/** Where a replay stands after a chunk. */
export interface ReplayStanding {
  /** Whether it goes on; not, when its own limits have ended or paused it. */
  readonly goesOn: boolean
}

/** Below this many, a share of failures says nothing. */
export const LEAST_FOR_SHARE = 20

/** What became of a chunk, in numbers. */
export interface ChunkCounts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Of those that failed. */
  readonly parked: number
}

/**
 * Counts what became of a chunk, for the replay and for whoever watches, behind all that it has done in its transaction, and
 * applies the limits of the replay. The compare-and-set on owner, epoch and state is the fence: whoever was replaced, and
 * whoever an operator has paused meanwhile, commits nothing.
 * @throws E_CONSUMER_NOT_OWNER when the replay is not ours, or not running, any more. The caller rolls back.
 */
export async function passFence(
  db: Queryable,
  replay: Replay,
  owner: string,
  { passed, failed, skipped, parked }: ChunkCounts,
): Promise<ReplayStanding> {
  const { rows } = await db.query<{ passed: string; failed: string }>(
    `/* millrace:replay-fence */ update millrace.replay
     set passed = passed + $4, failed = failed + $5, skipped = skipped + $6, parked = parked + $7,
       updated_at = clock_timestamp()
     where id = $1 and owner = $2 and epoch = $3 and state = 'running'
     returning passed::text, failed::text`,
    [replay.id, owner, replay.epoch, passed, failed, skipped, parked],
  )
  const counted = rows[0]
  if (counted === undefined) throw notOurs(replay)
  const now = { passed: Number(counted.passed), failed: Number(counted.failed) }
  if (!replay.dryRun) {
    const label = replay.application ?? ''
    await addCounts(db, [
      { metric: METRICS.replayPassed, label, delta: passed },
      { metric: METRICS.replayFailed, label, delta: failed },
      { metric: METRICS.replaySkipped, label, delta: skipped },
    ])
  }
  const limit = limitReached(replay, now, passed + failed)
  if (limit === undefined) return { goesOn: true }
  await db.query(
    `/* millrace:replay-limit */ update millrace.replay
     set state = $2, note = $3, finished_at = case when $2 = 'stopped' then clock_timestamp() end where id = $1`,
    [replay.id, limit.state, limit.note],
  )
  return { goesOn: false }
}

/** Writes down what became of each dead letter of a chunk: once per replay, or the transaction fails. */
export async function writeOutcomes(
  db: Queryable,
  replay: Replay,
  outcomes: readonly ReplayOutcome[],
): Promise<void> {
  await db.query(
    `/* millrace:replay-outcomes */ insert into millrace.replay_outcome (replay_id, dead_letter_id, outcome, error, fingerprint)
     select $1, o.id, o.outcome, o.error::json, o.fingerprint
     from unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) o(id, outcome, error, fingerprint)`,
    [
      replay.id,
      plainArray(outcomes.map(({ id }) => String(id))),
      textArray(outcomes.map(({ outcome }) => outcome)),
      textArray(outcomes.map(({ error }) => (error === undefined ? null : JSON.stringify(error)))),
      textArray(outcomes.map(({ fingerprint }) => fingerprint ?? null)),
    ],
  )
}

/** What became of a chunk of dead letters, in numbers. */
export function countOutcomes(outcomes: readonly ReplayOutcome[], parked: number): ChunkCounts {
  const count = (outcome: ReplayOutcome['outcome']): number =>
    outcomes.filter((one) => one.outcome === outcome).length
  return {
    passed: count('passed'),
    failed: count('failed'),
    skipped: count('skipped') + count('not-run'),
    parked,
  }
}

/**
 * Which limit of a replay is reached, if one is.
 * @param now what passed and failed so far.
 * @param tried how many of these were tried just now.
 */
export function limitReached(
  { canary, stopAfter, stopShare }: Pick<Replay, 'canary' | 'stopAfter' | 'stopShare'>,
  { passed, failed }: { readonly passed: number; readonly failed: number },
  tried: number,
): { readonly state: 'stopped' | 'paused'; readonly note: string } | undefined {
  const all = passed + failed
  const share = all === 0 ? 0 : failed / all
  if (stopAfter !== null && failed >= stopAfter) {
    return { state: 'stopped', note: `${failed} failed; it was to stop after ${stopAfter}` }
  }
  if (stopShare !== null && all >= LEAST_FOR_SHARE && share >= stopShare) {
    return {
      state: 'stopped',
      note: `${percent(share)} of ${all} failed; it was to stop at ${percent(stopShare)}`,
    }
  }
  if (canary !== null && all - tried < canary && all >= canary && failed > 0) {
    return { state: 'paused', note: `of the first ${all}, ${failed} failed` }
  }
  return undefined
}

/** What is expected of a dead letter or a past record before it is tried; `'neither'`: it is not tried. */
export type Expected = 'passed' | 'failed' | 'neither'

/**
 * How many of these may be tried together: up to the one by which a limit of failures is reached, if they become what is
 * expected of them; all of them, if none is.
 * @param now what passed and failed so far.
 */
export function untilLimit(
  { stopAfter, stopShare }: Pick<Replay, 'stopAfter' | 'stopShare'>,
  now: { readonly passed: number; readonly failed: number },
  expected: readonly Expected[],
): number {
  if (stopAfter === null && stopShare === null) return expected.length
  const counted = { ...now }
  for (const [index, one] of expected.entries()) {
    if (one === 'neither') continue
    counted[one] += 1
    const limit = limitReached({ canary: null, stopAfter, stopShare }, counted, 0)
    if (limit !== undefined) return index + 1
  }
  return expected.length
}

function percent(share: number): string {
  return `${Math.round(share * 1_000) / 10} %`
}

/** Whether a chunk's outcomes are there: asked when the reply to COMMIT was lost. */
export async function outcomeIsThere(
  db: Queryable,
  replay: Replay,
  deadLetterId: bigint,
): Promise<boolean> {
  const { rows } = await db.query(
    '/* millrace:replay-committed */ select from millrace.replay_outcome where replay_id = $1 and dead_letter_id = $2',
    [replay.id, deadLetterId],
  )
  return rows.length > 0
}

function notOurs({ id }: Replay): MillraceError {
  return new MillraceError(
    'E_CONSUMER_NOT_OWNER',
    `replay ${id} belongs to another process now, or an operator holds it; this chunk was rolled back`,
    { details: { replay: String(id) } },
  )
}
