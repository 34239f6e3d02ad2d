import assert from 'node:assert/strict'
import { check } from '../../support/checker/check.ts'
import type { HistoryEntry } from '../../support/checker/history.ts'
import type { Invariant } from '../../support/checker/verdict.ts'
import { world, type World } from './world.ts'

/** The invariants that do not hold in a world that `change` has changed. */
export function broken(alter: (world: World) => void): Invariant[] {
  const made = world()
  alter(made)
  const { violations } = check(made.history, made.dumps)
  return [...new Set(violations.map(({ invariant }) => invariant))].sort()
}

/** Changes the first of `list` that is `wanted`. */
export function replace<T>(list: T[], wanted: (item: T) => boolean, change: Partial<T>): void {
  const at = list.findIndex(wanted)
  assert.notEqual(at, -1)
  list[at] = { ...(list[at] as T), ...change }
}

/** Changes the first entry of a kind. */
export function alterEntry<K extends HistoryEntry['entry']>(
  { history }: World,
  kind: K,
  change: Partial<Extract<HistoryEntry, { entry: K }>>,
): void {
  replace(history, ({ entry }) => entry === kind, change as Partial<HistoryEntry>)
}

/** Changes the entry of the first record. */
export function alterProduced(history: HistoryEntry[], change: object): void {
  replace(history, ({ entry }) => entry === 'produce', change as Partial<HistoryEntry>)
}

/** One more call of the first job. */
export function call(change: object): HistoryEntry {
  const known = { idempotencyKey: 'key-0', jobId: 'job-0', attempt: 1, appliedAt: 6 }
  return { entry: 'effect', ...known, applied: false, ...change } as HistoryEntry
}

/** A dead letter of the first record. */
export function letter(handler: string): World['dumps']['deadLetters'][number] {
  return {
    id: 1n,
    application: 'app',
    handler,
    stage: 'apply',
    topicId: 'topic-1',
    partition: 0,
    offset: 0n,
    generation: 0,
    key: 'k',
    sha256: 'hash-0',
    jobId: null,
    state: 'open',
  }
}

/** A row of the audit about one thing. */
export function noted(
  xid: string,
  action: string,
  subject: string | null = null,
  count = 1,
): World['dumps']['actionTransitions'][number] {
  return { xid, op: 'insert', id: 1n, operator: 'ana@test', action, count, subject }
}
