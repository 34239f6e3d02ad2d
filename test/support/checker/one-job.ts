import { placeOf, type Dumps, type OriginDump } from './dumps.ts'
import type { HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I2: one job per application, handler, record and generation, over the hot table, the history and all that the shadow
 * table ever saw; and a job stands in one of the two tables, once.
 */
export function checkOneJob(_: readonly HistoryEntry[], dumps: Dumps): readonly Violation[] {
  const { found, note } = collect('I2')
  const ids = new Map<string, Set<string>>()
  const add = (id: string, origin: OriginDump | null): void => {
    if (origin === null) return
    const name = nameOf(origin)
    ids.set(name, (ids.get(name) ?? new Set()).add(id))
  }
  for (const { id, origin } of dumps.jobs) add(id, origin)
  for (const { id, origin } of dumps.jobTransitions) add(id, origin)
  for (const [name, jobs] of ids) {
    note(jobs.size === 1, () => `${name} has ${jobs.size} jobs: ${[...jobs].join(', ')}`)
  }
  for (const [id, rows] of Map.groupBy(dumps.jobs, (job) => job.id)) {
    note(rows.length === 1, () => {
      const where = rows.map(({ finished, state }) => `${finished ? 'history' : 'hot'} ${state}`)
      return `job ${id} has ${rows.length} rows: ${where.join(', ')}`
    })
  }
  const inserted = new Set(
    dumps.jobTransitions.flatMap(({ table, op, id }) =>
      table === 'job' && op === 'insert' ? [id] : [],
    ),
  )
  const standing = new Set(dumps.jobs.map(({ id }) => id))
  for (const id of inserted) {
    note(standing.has(id), () => `job ${id} was inserted and is neither hot nor history`)
  }
  return found
}

function nameOf(origin: OriginDump): string {
  const { application, handler, generation, index } = origin
  return `${application} ${handler} ${placeOf(origin)} generation ${generation} index ${index}`
}
