import { collect, type Violation } from './verdict.ts'

/** A number that was published under a key, with a row of its own in the same transaction. Numbers grow with every attempt. */
export interface PublishedFact {
  readonly key: string
  readonly n: number
  /** What its writer heard: `ok` it was committed, `fail` it was not, `info` nobody can say. */
  readonly outcome: 'ok' | 'fail' | 'info'
  /**
   * Published before the database fell back to what a lagging standby knew: its row may be gone, and what the standby did not
   * know to be in the log may be there twice. Default `false`.
   */
  readonly mayBeForgotten?: boolean
}

/** What there is to judge a run of relays by. */
export interface RelayEvidence {
  readonly published: readonly PublishedFact[]
  /** The rows that the database has in the end. */
  readonly rows: readonly Pick<PublishedFact, 'key' | 'n'>[]
  /** What is committed in the log, in order within a key. */
  readonly log: readonly Pick<PublishedFact, 'key' | 'n'>[]
}

/**
 * I14: an event is in the log once when the row of its transaction is in the database, and not at all when it is not; the row
 * is there when that was acknowledged, and is not when it was refused. I6: within a key they are in the order in which they
 * were published.
 *
 * Where a database has forgotten, only this can be asked: what it knows is in the log, what it does not know is there once at
 * most, and nothing is there more than twice; the first copies are in order.
 */
export function checkRelayed({ published, rows, log }: RelayEvidence): readonly Violation[] {
  const { found, note } = collect('I14')
  const order = collect('I6')
  const stored = new Set(rows.map(nameOf))
  const copies = Map.groupBy(log, nameOf)
  const known = new Set(published.map(nameOf))
  for (const fact of published) {
    const name = nameOf(fact)
    const { outcome, mayBeForgotten = false } = fact
    const isStored = stored.has(name)
    const times = copies.get(name)?.length ?? 0
    note(
      isStored || outcome !== 'ok' || mayBeForgotten,
      () => `${name} was acknowledged, and its row is gone`,
    )
    note(!isStored || outcome !== 'fail', () => `${name} was refused, and its row is there`)
    note(
      outcome !== 'fail' || times === 0,
      () => `${name} was refused, and is in the log ${times} times`,
    )
    const [least, most] = mayBeForgotten
      ? [isStored ? 1 : 0, isStored ? 2 : 1]
      : [isStored ? 1 : 0, isStored ? 1 : 0]
    note(
      times >= least && times <= most,
      () => `${name} is in the log ${times} times; its row is ${isStored ? 'there' : 'not there'}`,
    )
  }
  for (const name of new Set([...stored, ...copies.keys()]))
    note(known.has(name), () => `${name} was published by nobody`)
  const last = new Map<string, number>()
  const seen = new Set<string>()
  for (const fact of log) {
    const name = nameOf(fact)
    if (seen.has(name)) continue
    seen.add(name)
    const before = last.get(fact.key)
    order.note(before === undefined || before < fact.n, () => `${name} comes behind ${before}`)
    last.set(fact.key, fact.n)
  }
  return [...found, ...order.found]
}

function nameOf({ key, n }: Pick<PublishedFact, 'key' | 'n'>): string {
  return `${key} #${n}`
}
