import { placeOf, type Dumps } from './dumps.ts'
import { entriesOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I14: what was acknowledged to a producer is in the log once, with its key and its bytes; what failed is not there; what
 * nobody heard of is there once or not at all; and nothing is there that nobody produced. What the observer itself saw there,
 * before the log lost it, counts as there.
 */
export function checkAcknowledged(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I14')
  const records = Map.groupBy(dumps.records, ({ id }) => id)
  const produced = new Set<string>()
  for (const { id, outcome, sha256, key, copies: wanted = 1 } of entriesOf(history, 'produce')) {
    produced.add(id)
    const copies = records.get(id) ?? []
    const allowed = outcome === 'ok' ? [wanted] : outcome === 'fail' ? [0] : [0, 1]
    note(
      allowed.includes(copies.length),
      () => `event ${id} was produced with '${outcome}', and is in the log ${copies.length} times`,
    )
    for (const record of copies) {
      note(
        record.sha256 === sha256 && record.key === key,
        () => `event ${id} at ${placeOf(record)} has another key or other bytes than produced`,
      )
    }
  }
  for (const [id, [record]] of records) {
    note(
      produced.has(id),
      () => `event ${id} at ${record === undefined ? '?' : placeOf(record)} was produced by nobody`,
    )
  }
  return found
}
