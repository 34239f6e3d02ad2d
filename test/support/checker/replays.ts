import type { Dumps } from './dumps.ts'
import type { HistoryEntry } from './history.ts'
import type { LetterTransition, OutcomeTransition, ReplayCounts } from './operated-dumps.ts'
import { collect, type Violation } from './verdict.ts'

type Note = (holds: boolean, witness: () => string) => void

const NONE: ReplayCounts = { passed: 0, failed: 0, skipped: 0, parked: 0 }

/**
 * I16: a replay's numbers are those of its outcomes, in every transaction and in the end; each dead letter has one outcome in
 * it; what passed was closed, and what failed has failed in one replay more, by the transaction that says so, and by no other;
 * a dry run changes no dead letter; nothing changes what is replayed or discarded, nor a replay that is over or held.
 */
export function checkReplays(_: readonly HistoryEntry[], dumps: Dumps): readonly Violation[] {
  const { found, note } = collect('I16')
  for (const { id, counts, outcomes, ofRecords } of dumps.replays) {
    const { parked: __, ...counted } = counts
    note(
      ofRecords || same(counted, outcomes),
      () => `replay ${id} counts ${show(counted)}, its outcomes are ${show(outcomes)}`,
    )
  }
  checkChunks(dumps, note)
  checkOutcomes(dumps, note)
  checkLetters(dumps, note)
  checkStates(dumps, note)
  return found
}

/** Of each transaction, the numbers are those of its outcomes. */
function checkChunks(dumps: Dumps, note: Note): void {
  const chunkOf = (xid: string, replay: bigint): string => `replay ${replay} in transaction ${xid}`
  const parked = new Map<string, number>()
  for (const { xid, to, replays } of dumps.letterTransitions) {
    if (to === 'parked' && replays > 0) parked.set(xid, (parked.get(xid) ?? 0) + 1)
  }
  const written = Map.groupBy(dumps.outcomeTransitions, ({ xid, replayId }) =>
    chunkOf(xid, replayId),
  )
  const counted = Map.groupBy(
    dumps.replayTransitions.filter(({ ofRecords }) => !ofRecords),
    ({ xid, id }) => chunkOf(xid, id),
  )
  for (const chunk of new Set([...written.keys(), ...counted.keys()])) {
    const changes = counted.get(chunk) ?? []
    const outcomes = written.get(chunk) ?? []
    const said = changes.map(({ counts }) => counts).reduce(add, NONE)
    const of = (...names: string[]): number =>
      outcomes.filter(({ outcome }) => names.includes(outcome)).length
    const is = {
      passed: of('passed'),
      failed: of('failed'),
      skipped: of('skipped', 'not-run'),
      parked: outcomes.length === 0 ? 0 : (parked.get(outcomes[0]?.xid ?? '') ?? 0),
    }
    note(same(said, is), () => `${chunk} counts ${show(said)}, its outcomes are ${show(is)}`)
    if (outcomes.length === 0) continue
    note(
      changes[0]?.from === 'running',
      () => `${chunk} has ${outcomes.length} outcomes, and was ${changes[0]?.from}`,
    )
  }
}

/** Each is there once, and stays. */
function checkOutcomes(dumps: Dumps, note: Note): void {
  for (const { op, replayId, letterId } of dumps.outcomeTransitions) {
    note(
      op === 'insert',
      () => `the outcome of dead letter ${letterId} in replay ${replayId}: ${op}`,
    )
  }
  const byLetter = Map.groupBy(
    dumps.outcomeTransitions.filter(({ op }) => op === 'insert'),
    ({ replayId, letterId }) => `dead letter ${letterId} in replay ${replayId}`,
  )
  for (const [which, outcomes] of byLetter) {
    note(outcomes.length === 1, () => `${which} has ${outcomes.length} outcomes`)
  }
}

/** What happened to the dead letters is what the outcomes say, in the same transaction. */
function checkLetters(dumps: Dumps, note: Note): void {
  const dryRuns = new Set(dumps.replays.filter(({ dryRun }) => dryRun).map(({ id }) => id))
  const keyOf = (xid: string, letter: bigint): string =>
    `dead letter ${letter} in transaction ${xid}`
  const changes = Map.groupBy(dumps.letterTransitions, ({ xid, id }) => keyOf(xid, id))
  const outcomes = Map.groupBy(dumps.outcomeTransitions, ({ xid, letterId }) =>
    keyOf(xid, letterId),
  )
  const retried = new Set(
    dumps.actionTransitions.flatMap(({ action, xid }) => (action === 'jobs.retry' ? [xid] : [])),
  )
  for (const [which, [outcome]] of outcomes) {
    if (outcome === undefined) continue
    const { closed, failed } = becameOf(changes.get(which) ?? [])
    const counts = !dryRuns.has(outcome.replayId)
    const ofJob = changes.get(which)?.some(({ stage }) => stage === 'job') ?? false
    note(
      closed === (counts && outcome.outcome === 'passed'),
      () => `${which} ${tells(outcome, counts)}, and was ${closed ? '' : 'not '}closed`,
    )
    // A discarded job whose row is gone fails without a change; the stage is then known from no change.
    const known = changes.has(which) || !isJob(dumps, outcome.letterId)
    note(
      !known || ofJob || failed === (counts && outcome.outcome === 'failed'),
      () => `${which} ${tells(outcome, counts)}, and has ${failed ? '' : 'not '}failed once more`,
    )
  }
  for (const [which, group] of changes) {
    const { closed, failed } = becameOf(group)
    const [first] = group as [LetterTransition]
    const outcome = outcomes.get(which)?.[0]?.outcome
    note(
      !closed || outcome === 'passed' || retried.has(first.xid),
      () => `${which} was closed by ${first.actor}, and no replay says that it passed`,
    )
    note(
      !failed || first.stage === 'job' || outcome === 'failed',
      () => `${which} counts one replay more by ${first.actor}, and no replay says that it failed`,
    )
  }
}

/** Nothing changes once it is over; the dead letter of a job is opened again when that is discarded again. */
function checkStates(dumps: Dumps, note: Note): void {
  for (const { id, xid, actor, stage, from, to, edited } of dumps.letterTransitions) {
    if (from !== 'replayed' && from !== 'discarded') continue
    const again = stage === 'job' && (to === 'open' || to === 'parked') && !edited
    note(
      again,
      () => `dead letter ${id} was ${from}, and ${actor} changed it to ${to} in transaction ${xid}`,
    )
  }
  const changes = dumps.replayTransitions.toSorted((a, b) => (a.seq < b.seq ? -1 : 1))
  for (const { id, from, to, counts, actor } of changes) {
    note(
      from !== 'finished' && from !== 'aborted',
      () => `replay ${id} was ${from}, and ${actor} changed it to ${to} with ${show(counts)}`,
    )
    note(
      from === 'running' || Object.values(counts).every((n) => n === 0),
      () => `replay ${id} was ${from}, and ${actor} counted ${show(counts)}`,
    )
    note(
      Object.values(counts).every((n) => n >= 0),
      () => `replay ${id} counts less than before: ${show(counts)}`,
    )
  }
}

function becameOf(changes: readonly LetterTransition[]): { closed: boolean; failed: boolean } {
  return {
    closed: changes.some(({ to, from }) => to === 'replayed' && from !== 'replayed'),
    failed: changes.some(({ replays }) => replays > 0),
  }
}

function isJob(dumps: Dumps, letter: bigint): boolean {
  return dumps.deadLetters.some(({ id, jobId }) => id === letter && jobId !== null)
}

function tells({ outcome, replayId }: OutcomeTransition, counts: boolean): string {
  return `${outcome} in ${counts ? 'replay' : 'the dry run'} ${replayId}`
}

function add(one: ReplayCounts, other: ReplayCounts): ReplayCounts {
  return {
    passed: one.passed + other.passed,
    failed: one.failed + other.failed,
    skipped: one.skipped + other.skipped,
    parked: one.parked + other.parked,
  }
}

function same(one: object, other: object): boolean {
  return show(one) === show(other)
}

function show(counts: object): string {
  const sorted = Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1))
  return sorted.map(([name, n]) => `${n} ${name}`).join(', ')
}
