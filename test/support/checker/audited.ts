import type { Dumps } from './dumps.ts'
import type { HistoryEntry } from './history.ts'
import type { ActionTransition } from './operated-dumps.ts'
import { partitionOf } from './dumps.ts'
import { collect, type Violation } from './verdict.ts'

/** Something that an operator changed, and how the audit must call it. */
interface Mutation {
  readonly xid: string
  /** Any of these. */
  readonly actions: readonly string[]
  /** How many it changed; undefined: not looked at. */
  readonly count?: number
  /** Any of these; undefined: not looked at. */
  readonly subjects?: readonly (string | null)[]
  readonly shown: string
}

const CHANGED_TO: Readonly<Record<string, string>> = {
  paused: 'replays.pause',
  running: 'replays.resume',
  aborted: 'replays.abort',
}
/** The connections by which a scenario's operator changes jobs; workers change them too. */
const OPERATOR = 'operator'
/** Actions of which every row must have its mutation. */
const WITH_MUTATION = /^(dlq|records|replays|jobs)[.]|^consumers[.](seek|pause)$/

/**
 * I10: each mutation of an operator has one row of the audit, written by the same transaction, with the right name and
 * number; no such row is without its mutation; and the audit is only ever added to. What is published says first that it
 * will be, and then what became of it.
 */
export function checkAudited(_: readonly HistoryEntry[], dumps: Dumps): readonly Violation[] {
  const { found, note } = collect('I10')
  const written = dumps.actionTransitions.filter(({ op }) => op === 'insert')
  const actions = Map.groupBy(written, ({ xid }) => xid)
  const mutations = Map.groupBy(mutationsOf(dumps), ({ xid }) => xid)
  for (const [xid, changed] of mutations) {
    const noted = actions.get(xid) ?? []
    for (const { shown, ...mutation } of changed) {
      const its = noted.filter((action) => isOf(action, mutation))
      note(
        its.length === 1,
        () =>
          `${shown} in transaction ${xid}, which has ${its.length} rows of the audit that say so, and ${show(noted)}`,
      )
    }
  }
  for (const action of written) {
    if (!WITH_MUTATION.test(action.action) || action.count === 0) continue
    // An order of nothing is an order.
    note(
      (mutations.get(action.xid) ?? []).some((mutation) => isOf(action, mutation)),
      () =>
        `the audit says ${show([action])} in transaction ${action.xid}, which did nothing of the kind`,
    )
  }
  for (const { op, id, action } of dumps.actionTransitions) {
    note(
      op === 'insert' || (op === 'update' && action === 'events.publish'),
      () => `row ${id} of the audit (${action}) was changed: ${op}`,
    )
  }
  return found
}

function isOf(action: ActionTransition, mutation: Omit<Mutation, 'xid' | 'shown'>): boolean {
  const { actions, count, subjects } = mutation
  return (
    actions.includes(action.action) &&
    (count === undefined || action.count === count) &&
    (subjects === undefined || subjects.includes(action.subject))
  )
}

function mutationsOf(dumps: Dumps): Mutation[] {
  const mutations: Mutation[] = []
  const discarded = dumps.letterTransitions.filter(
    ({ from, to }) => to === 'discarded' && from !== 'discarded',
  )
  for (const [xid, letters] of Map.groupBy(discarded, (change) => change.xid)) {
    const shown = `${letters[0]?.actor} discarded ${letters.length} dead letters, the first ${letters[0]?.id},`
    mutations.push({ xid, actions: ['dlq.discard'], count: letters.length, shown })
  }
  const edits = dumps.letterTransitions.filter(({ edited }) => edited)
  for (const [xid, letters] of Map.groupBy(edits, (change) => change.xid)) {
    const [first] = letters
    const shown = `${first?.actor} edited ${letters.length} dead letters, the first ${first?.id},`
    // One that was named stands in the audit; of a selection only how many.
    const subjects = letters.length === 1 ? [String(first?.id), null] : [null]
    mutations.push({ xid, actions: ['dlq.edit'], count: letters.length, subjects, shown })
  }
  for (const { xid, actor, id, from, to, ordered, dryRun, total } of dumps.replayTransitions) {
    if (!ordered) continue
    const subjects = [String(id)]
    const kind = dryRun ? 'dry-run' : 'replay'
    if (from === null) {
      const shown = `${actor} ordered replay ${id} of ${total}`
      const names = [`dlq.${kind}`, `records.${kind}`]
      mutations.push({ xid, actions: names, count: total, subjects, shown })
      continue
    }
    const shown = `${actor} changed replay ${id} from ${from} to ${to}`
    const names = [CHANGED_TO[to] ?? to]
    mutations.push({ xid, actions: names, count: 1, subjects, shown })
  }
  for (const [xid, changes] of Map.groupBy(dumps.pauseTransitions, (change) => change.xid)) {
    const set = changes.filter(({ op }) => op !== 'delete')
    for (const { actor, scope } of set)
      mutations.push({ xid, actions: ['consumers.pause'], shown: `${actor} paused ${scope}` })
    const [first] = changes.filter(({ op }) => op === 'delete')
    if (first === undefined) continue
    const names = ['consumers.resume', 'consumers.accept-failures']
    mutations.push({ xid, actions: names, shown: `${first.actor} resumed ${first.scope}` })
  }
  const jobs = dumps.jobTransitions.filter(({ actor }) => actor === OPERATOR)
  for (const [xid, changes] of Map.groupBy(jobs, (change) => change.xid)) {
    // A job that comes back from the history or goes there is changed in both tables.
    const count = new Set(changes.map(({ id }) => id)).size
    const shown = `${OPERATOR} changed ${count} jobs, the first ${changes[0]?.id},`
    mutations.push({ xid, actions: ['jobs.retry', 'jobs.cancel'], count, shown })
  }
  const moves = dumps.positionTransitions.toSorted((a, b) => (a.seq < b.seq ? -1 : 1))
  for (const changes of Map.groupBy(moves, partitionOf).values()) {
    for (const [index, { xid, actor, generation, partition, next }] of changes.entries()) {
      const before = changes[index - 1]
      if (before === undefined || generation <= before.generation) continue
      const shown = `${actor} moved partition ${partition} to ${next}`
      mutations.push({ xid, actions: ['consumers.seek', 'consumers.resolve'], shown })
    }
  }
  return mutations
}

function show(actions: readonly ActionTransition[]): string {
  if (actions.length === 0) return 'no other'
  return actions
    .map(({ action, count, subject }) => `${action} of ${count}${subject ? ` (${subject})` : ''}`)
    .join(', ')
}
