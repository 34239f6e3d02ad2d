import {
  isGoneUnread,
  isSkipped,
  isThereIn,
  laneOf,
  partitionOf,
  placeOf,
  readIn,
  type BatchDump,
  type Dumps,
  type PositionDump,
  type RecordDump,
} from './dumps.ts'
import {
  entriesOf,
  runOf,
  type Disposition,
  type HistoryEntry,
  type ProduceEntry,
} from './history.ts'
import { collect, type Violation } from './verdict.ts'

/** What there is to show for a record and a handler, by handler and disposition. */
type Traces = ReadonlyMap<string, ReadonlyMap<Disposition, number>>

/**
 * I1: each record below the position was read, or an operator said that it is not to be; in every generation in which it
 * was read it has, for every handler, exactly the disposition that its producer knows it must have, and in no other any.
 * Of an event that was appended more than once, a handler that handles it once has left that to one of its copies, and the
 * others are filtered. The rows of the batches tile what was read in a generation without hole or overlap, and count what is really in them.
 */
export function checkNothingLost(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I1')
  const { application, onceHandlers = [] } = runOf(history)
  const produced = new Map(entriesOf(history, 'produce').map((entry) => [entry.id, entry]))
  const traces = tracesOf(dumps)
  const copied = copiesOf(dumps, onceHandlers)
  const positions = dumps.positions.filter((position) => position.application === application)
  /** What must become of a record in a generation, where it may be the copy that was left out. */
  const expectedAt = (record: RecordDump, generation: number): Dispositions => {
    const dispositions = produced.get(record.id)?.dispositions ?? {}
    if (!copied.events.has(record.id)) return dispositions
    const there = traces.get(generationOf(record, generation))
    return Object.fromEntries(
      Object.entries(dispositions).map(([handler, disposition]) => {
        const isLeftOut = copied.handlers.has(handler) && there?.has(handler) !== true
        return [handler, isLeftOut ? 'filtered' : disposition]
      }),
    )
  }
  for (const record of dumps.records) {
    const expected = produced.get(record.id)
    const position = positions.find((p) => isOf(p, record))
    if (expected === undefined || position === undefined) continue
    const generations = readIn(dumps, position, record)
    note(
      isGoneUnread(record) ||
        generations.size > 0 ||
        record.offset >= position.next ||
        isSkipped(dumps, position, record.offset),
      () => `${show(record)} was passed over: it is in no batch, and nobody said so`,
    )
    for (let generation = 0; generation <= position.generation; generation += 1) {
      // What there is to show in it is of the record that stood there then.
      if (!isGoneUnread(record) && !isThereIn(record, generation)) continue
      const there: Traces = traces.get(generationOf(record, generation)) ?? new Map()
      const shown = generation === 0 ? show(record) : `${show(record)} in generation ${generation}`
      if (generations.has(generation))
        checkDispositions(shown, expectedAt(record, generation), there, note)
      else note(there.size === 0, () => `${shown} is not read, but has ${showTraces(there)}`)
    }
  }
  for (const position of positions) {
    const batches = dumps.batches.filter((batch) => partitionOf(batch) === partitionOf(position))
    for (const ofOne of Map.groupBy(batches, laneOf).values()) checkTiles(position, ofOne, note)
    for (const batch of batches) checkBatch(batch, dumps.records, expectedAt, note)
  }
  checkCopies(dumps, { produced, positions, traces, copied }, note)
  return found
}

/** The events that stand in the log more than once, and the handlers that are to handle them once. */
interface Copied {
  readonly events: ReadonlyMap<string, readonly RecordDump[]>
  readonly handlers: ReadonlySet<string>
}

function copiesOf({ records }: Dumps, handlers: readonly string[]): Copied {
  const events = new Map<string, readonly RecordDump[]>()
  if (handlers.length > 0) {
    for (const [id, copies] of Map.groupBy(records, (record) => record.id))
      if (copies.length > 1) events.set(id, copies)
  }
  return { events, handlers: new Set(handlers) }
}

/** Where all copies of an event were read, one of them was handled; that no other was, {@link checkOneJob} says. */
function checkCopies(
  dumps: Dumps,
  {
    produced,
    positions,
    traces,
    copied,
  }: {
    readonly produced: ReadonlyMap<string, ProduceEntry>
    readonly positions: readonly PositionDump[]
    readonly traces: ReadonlyMap<string, Traces>
    readonly copied: Copied
  },
  note: Note,
): void {
  for (const [id, copies] of copied.events) {
    const read = copies.every((record) => {
      const position = positions.find((p) => isOf(p, record))
      return position !== undefined && readIn(dumps, position, record).has(0)
    })
    for (const [handler, disposition] of Object.entries(produced.get(id)?.dispositions ?? {})) {
      if (!read || !copied.handlers.has(handler) || disposition === 'filtered') continue
      note(
        copies.some((record) => traces.get(generationOf(record, 0))?.has(handler) === true),
        () => `event ${id} was read ${copies.length} times, and is nothing for ${handler}`,
      )
    }
  }
}

type Dispositions = ProduceEntry['dispositions']

type Note = (holds: boolean, witness: () => string) => void

function checkDispositions(shown: string, expected: Dispositions, there: Traces, note: Note): void {
  for (const [handler, disposition] of Object.entries(expected)) {
    const counts = there.get(handler) ?? new Map<Disposition, number>()
    const kinds = [...counts.keys()]
    const holds =
      disposition === 'filtered'
        ? kinds.length === 0
        : kinds.length === 1 && kinds[0] === disposition
    note(
      holds,
      () => `${shown} must be '${disposition}' for ${handler}, and is ${showCounts(counts)}`,
    )
  }
  for (const [handler, counts] of there) {
    note(
      handler in expected,
      () => `${shown} is nothing for ${handler}, and is ${showCounts(counts)}`,
    )
  }
}

function checkTiles(position: PositionDump, batches: readonly BatchDump[], note: Note): void {
  const sorted = batches.toSorted((a, b) => (a.first < b.first ? -1 : 1))
  for (const [index, batch] of sorted.entries()) {
    const before = sorted[index - 1]
    note(
      batch.next > batch.first,
      () => `the batch at ${batch.first} of ${laneOf(batch)} moves to ${batch.next}`,
    )
    if (before === undefined) continue
    note(
      before.next === batch.first,
      () =>
        `${laneOf(batch)}: the batch after ${before.first}…${before.next} begins at ${batch.first}`,
    )
  }
  const last = sorted.at(-1)
  if (last === undefined || last.generation !== position.generation) return
  note(
    last.next === position.next,
    () => `${laneOf(position)}: its batches end at ${last.next}, the position is ${position.next}`,
  )
}

function checkBatch(
  batch: BatchDump,
  records: readonly RecordDump[],
  expectedAt: (record: RecordDump, generation: number) => Dispositions,
  note: Note,
): void {
  const counts = { records: 0, done: 0, jobs: 0, filtered: 0, dead: 0 }
  for (const record of records) {
    if (!isOf(batch, record) || record.offset < batch.first || record.offset >= batch.next) continue
    if (!isThereIn(record, batch.generation)) continue
    counts.records += 1
    for (const disposition of Object.values(expectedAt(record, batch.generation))) {
      counts[disposition] += 1
    }
  }
  const { deadLettered: dead, done, jobs, filtered } = batch
  const written = { records: batch.records, done, jobs, filtered, dead }
  note(
    JSON.stringify(written) === JSON.stringify(counts),
    () =>
      `the batch ${batch.first}…${batch.next} of ${laneOf(batch)} says ${JSON.stringify(written)}, its records are ${JSON.stringify(counts)}`,
  )
}

/** What is there to show for each record, by place and generation. Batches and positions are not asked: they only count. */
function tracesOf(dumps: Dumps): ReadonlyMap<string, Traces> {
  const traces = new Map<string, Map<string, Map<Disposition, number>>>()
  const add = (place: string, handler: string, disposition: Disposition): void => {
    const handlers = getOrInsert(traces, place, () => new Map())
    const counts = getOrInsert(handlers, handler, () => new Map<Disposition, number>())
    counts.set(disposition, (counts.get(disposition) ?? 0) + 1)
  }
  for (const { origin } of dumps.jobs) {
    if (origin !== null) add(generationOf(origin, origin.generation), origin.handler, 'jobs')
  }
  for (const effect of dumps.effects) {
    if (effect.source === 'record')
      add(generationOf(effect, effect.generation), effect.name, 'done')
  }
  for (const letter of dumps.deadLetters) {
    if (letter.jobId === null) add(generationOf(letter, letter.generation), letter.handler, 'dead')
  }
  return traces
}

function generationOf(at: Parameters<typeof placeOf>[0], generation: number | null): string {
  return `${placeOf(at)} ${generation ?? 0}`
}

function getOrInsert<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

function isOf(
  lane: { readonly topicId: string; readonly partition: number },
  record: RecordDump,
): boolean {
  return lane.topicId === record.topicId && lane.partition === record.partition
}

function show(record: RecordDump): string {
  return `record ${placeOf(record)} (event ${record.id})`
}

function showCounts(counts: ReadonlyMap<Disposition, number>): string {
  if (counts.size === 0) return 'nothing'
  return [...counts].map(([disposition, count]) => `${disposition} × ${count}`).join(' and ')
}

function showTraces(traces: Traces): string {
  return [...traces].map(([handler, counts]) => `${showCounts(counts)} for ${handler}`).join(', ')
}
