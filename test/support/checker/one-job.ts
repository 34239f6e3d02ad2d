import { placeOf, type Dumps, type OriginDump } from './dumps.ts'
import { runOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I2: one job per application, handler, record and generation, over the hot table, the history and all that the shadow
 * table ever saw; and a job stands in one of the two tables, once. For a handler that handles an event once, whatever it
 * made of the event's copies is of one of them: jobs, effects, dead letters.
 */
export function checkOneJob(history: readonly HistoryEntry[], dumps: Dumps): readonly Violation[] {
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
  for (const [event, places] of placesByEvent(history, dumps)) {
    note(
      places.size === 1,
      () => `${event} was handled at ${places.size} places: ${[...places].join(', ')}`,
    )
  }
  return found
}

/** Where handlers that handle an event once have handled it: a replay for itself, all other readings together. */
function placesByEvent(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): ReadonlyMap<string, ReadonlySet<string>> {
  const once = new Set(runOf(history).onceHandlers)
  const places = new Map<string, Set<string>>()
  if (once.size === 0) return places
  const eventAt = new Map(dumps.records.map((record) => [placeOf(record), record.id]))
  const add = (handler: string, at: Parameters<typeof placeOf>[0], generation: number): void => {
    const event = eventAt.get(placeOf(at))
    if (event === undefined || !once.has(handler)) return
    const reading = generation < 0 ? ` in replay ${-generation}` : ''
    const name = `event ${event} for ${handler}${reading}`
    places.set(name, (places.get(name) ?? new Set()).add(placeOf(at)))
  }
  for (const { origin } of [...dumps.jobs, ...dumps.jobTransitions]) {
    if (origin !== null) add(origin.handler, origin, origin.generation)
  }
  for (const effect of dumps.effects) {
    if (effect.source === 'record') add(effect.name, effect, effect.generation ?? 0)
  }
  for (const letter of dumps.deadLetters) {
    if (letter.jobId === null) add(letter.handler, letter, letter.generation ?? 0)
  }
  return places
}

function nameOf(origin: OriginDump): string {
  const { application, handler, generation, index } = origin
  return `${application} ${handler} ${placeOf(origin)} generation ${generation} index ${index}`
}
