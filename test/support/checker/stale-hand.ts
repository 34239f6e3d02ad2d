import { partitionOf, type Dumps, type JobTransition, type PositionTransition } from './dumps.ts'
import type { HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

type Note = (holds: boolean, witness: () => string) => void

/**
 * I7: epochs and generations never go down, and only the owner of an epoch moves the position in it, or an operator, who
 * takes the owner off and raises both. A job is claimed from `available`
 * under a token of its own; what is executing is changed by its claimer, or by anybody once its process has lapsed; what
 * is over stays as it is, unless the same transaction says that an operator or a replay gave it back.
 */
export function checkStaleHand(_: readonly HistoryEntry[], dumps: Dumps): readonly Violation[] {
  const { found, note } = collect('I7')
  const positions = dumps.positionTransitions.toSorted((a, b) => (a.seq < b.seq ? -1 : 1))
  for (const [lane, changes] of Map.groupBy(positions, partitionOf)) checkLane(lane, changes, note)
  const jobs = dumps.jobTransitions.toSorted((a, b) => (a.seq < b.seq ? -1 : 1))
  const givenBack = new Set([
    ...dumps.actionTransitions.flatMap(({ action, xid }) => (action === 'jobs.retry' ? [xid] : [])),
    ...dumps.letterTransitions.flatMap(({ to, xid, jobId }) =>
      to === 'replayed' ? [`${xid} ${jobId}`] : [],
    ),
  ])
  const isGivenBack = ({ xid, id }: JobTransition): boolean =>
    givenBack.has(xid) || givenBack.has(`${xid} ${id}`)
  for (const [id, changes] of Map.groupBy(jobs, (change) => change.id))
    checkJob(id, changes, isGivenBack, note)
  return found
}

function checkLane(lane: string, changes: readonly PositionTransition[], note: Note): void {
  const takers = new Map<bigint, string>()
  for (const [index, now] of changes.entries()) {
    const before = changes[index - 1]
    if (before === undefined) continue
    note(
      now.epoch >= before.epoch,
      () => `${lane}: ${now.actor} took the epoch from ${before.epoch} down to ${now.epoch}`,
    )
    if (now.owner !== before.owner && now.owner !== null) {
      note(
        now.epoch > before.epoch,
        () => `${lane}: ${now.actor} took it over without a new epoch (${now.epoch})`,
      )
    }
    note(
      now.generation >= before.generation,
      () =>
        `${lane}: ${now.actor} took the generation from ${before.generation} down to ${now.generation}`,
    )
    if (now.generation > before.generation) {
      note(
        now.owner === null && now.epoch > before.epoch,
        () =>
          `${lane}: ${now.actor} raised the generation to ${now.generation} and left the owner on`,
      )
      continue
    }
    if (now.epoch > before.epoch) takers.set(now.epoch, now.actor)
    if (now.next !== before.next) {
      const taker = takers.get(now.epoch)
      note(
        before.owner !== null && before.owner === now.owner && before.epoch === now.epoch,
        () => `${lane}: ${now.actor} moved it to ${now.next} while its owner or epoch was changing`,
      )
      note(
        taker === undefined || taker === now.actor,
        () =>
          `${lane}: ${now.actor} moved it to ${now.next} in epoch ${now.epoch}, which is that of ${taker}`,
      )
    }
  }
}

function checkJob(
  id: string,
  changes: readonly JobTransition[],
  isGivenBack: (change: JobTransition) => boolean,
  note: Note,
): void {
  let claimer: string | undefined
  let over: JobTransition | undefined
  const tokens = new Set<string>()
  for (const now of changes) {
    const what = `job ${id}, attempt ${now.attempt}: ${now.actor}`
    if (isGivenBack(now) && (over !== undefined || now.op === 'insert')) {
      over = undefined
      continue
    }
    note(
      over === undefined || (now.table === 'job' && now.op === 'delete'),
      () => `${what} changed it (${showChange(now)}) after it was ${over?.to}`,
    )
    if (now.table === 'history') {
      note(now.op === 'insert', () => `${what} changed the history (${now.op})`)
      note(
        now.token === null || tokens.has(now.token),
        () => `${what} finished it under a token that nobody claimed it with`,
      )
      over = now
      continue
    }
    const leaves =
      now.from === 'executing' && (now.to !== 'executing' || now.token !== now.oldToken)
    if (leaves) {
      note(
        claimer === undefined || claimer === now.actor || !now.holderAlive,
        () => `${what} took it (${showChange(now)}) from ${claimer}, whose process was alive`,
      )
    }
    if (now.to === 'executing' && (now.from !== 'executing' || now.token !== now.oldToken)) {
      // Or as it was made, by whoever made it.
      const made = now.op === 'insert' && changes[0] === now
      note(made || now.from === 'available', () => `${what} claimed it while it was ${now.from}`)
      note(
        now.token !== null && !tokens.has(now.token),
        () => `${what} claimed it under a token that was used before`,
      )
      if (now.token !== null) tokens.add(now.token)
      claimer = now.actor
    }
    if (now.op === 'delete') {
      note(
        now.from === 'executing' || now.to === null,
        () => `${what} removed it while it was ${now.from}`,
      )
    }
  }
}

function showChange({ table, op, from, to }: JobTransition): string {
  return `${table} ${op}: ${from ?? '–'} → ${to ?? '–'}`
}
