import type { Dumps } from './dumps.ts'
import { runOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I14: what a handler publishes beside a row of effect is in the log as often as the row is in the database; I6: for handlers
 * whose order counts, within a key in the order of the rows.
 */
export function checkEchoed(history: readonly HistoryEntry[], dumps: Dumps): readonly Violation[] {
  const { echoes, effects } = dumps
  if (echoes === undefined) return []
  const { found, note } = collect('I14')
  const order = collect('I6')
  const rows = Map.groupBy(effects, nameOf)
  const events = Map.groupBy(echoes, nameOf)
  for (const name of new Set([...rows.keys(), ...events.keys()])) {
    const [wanted, there] = [rows.get(name)?.length ?? 0, events.get(name)?.length ?? 0]
    note(wanted === there, () => `${name} is ${wanted} rows, and ${there} events in the log`)
  }
  for (const handler of runOf(history).orderedHandlers) {
    const isOf = ({ name }: { readonly name: string }): boolean => name === handler
    const written = effects.filter(isOf).toSorted((a, b) => (a.seq < b.seq ? -1 : 1))
    const published = Map.groupBy(echoes.filter(isOf), ({ key }) => key)
    for (const [key, ofKey] of Map.groupBy(written, (effect) => effect.key ?? '')) {
      const was = ofKey.map(({ eventId }) => eventId).join()
      const is = (published.get(key) ?? []).map(({ eventId }) => eventId).join()
      order.note(was === is, () => `${handler} wrote of ${key} ${was}, and published ${is}`)
    }
  }
  return [...found, ...order.found]
}

function nameOf({ name, eventId }: { readonly name: string; readonly eventId: string }): string {
  return `${name} of event ${eventId}`
}
