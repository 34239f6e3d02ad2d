import { throwIfAborted } from '../core/abort.ts'
import { describeError } from '../errors/describe.ts'
import type { Log, LogRecord, Topic } from '../log/port.ts'
import { eventFact } from './event-fact.ts'
import type { EventFact } from './facts.ts'
import { isWanted, type FindOptions, type RecordFinder, type Wanted } from './record-finder.ts'
import type { Window } from './windows.ts'

/** Partitions that are looked through in one search. */
const MAX_PARTITIONS = 1_000
/** Records that are looked at in one window of one partition. */
const MAX_LOOKED_AT = 5_000
/** Partitions of one read, and what each may give at once: bounds the memory. */
const PER_READ = 16
const RECORDS = 500
const BYTES = 512 * 1024
/** Questions for offsets by time that are under way at once. */
const ASKED_AT_ONCE = 16
/** A log is about in the order of time. A record this far behind the window ends it. */
const DISORDER_MS = 5_000

interface Cursor {
  readonly topic: Topic
  readonly partition: number
  readonly window: Window
  offset: bigint
  looked: number
  done: boolean
}

/**
 * Finds events in any log: its offsets by time say where a window begins, and from there it is read. `first` are the topics
 * that are looked through before the others.
 */
export function logRecords(log: Log, knownTopics: ReadonlySet<string>): RecordFinder {
  return {
    maxWindows: 8,
    async find(wanted, windows, options) {
      const { first = false, note, signal } = options
      throwIfAborted(signal)
      const found: EventFact[] = []
      const places = await placesOf(log, knownTopics, note)
      for (const window of windows) {
        const cursors = await cursorsOf(log, places, window, options)
        for (let at = 0; at < cursors.length; at += PER_READ) {
          const some = cursors.slice(at, at + PER_READ)
          await readThrough(log, some, wanted, found, options)
          if (first && found.length > 0) return found.slice(0, 1)
        }
        if (cursors.some(({ looked, done }) => !done && looked >= MAX_LOOKED_AT)) {
          note(
            `in a stretch of time a partition has more than ${MAX_LOOKED_AT} records; the rest of them were not looked at`,
          )
        }
      }
      return found
    },
  }
}

/** Every partition of every topic, those of topics that are known first. */
async function placesOf(
  log: Log,
  knownTopics: ReadonlySet<string>,
  note: (text: string) => void,
): Promise<{ readonly topic: Topic; readonly partition: number }[]> {
  const topics = (await log.topics()).filter(({ name }) => !name.startsWith('__'))
  const ordered = [
    ...topics.filter(({ name }) => knownTopics.has(name)),
    ...topics.filter(({ name }) => !knownTopics.has(name)),
  ]
  const places = ordered.flatMap((topic) =>
    Array.from({ length: topic.partitions }, (_, partition) => ({ topic, partition })),
  )
  if (places.length > MAX_PARTITIONS) {
    note(`the log has ${places.length} partitions; ${MAX_PARTITIONS} of them were looked through`)
  }
  return places.slice(0, MAX_PARTITIONS)
}

async function cursorsOf(
  log: Log,
  places: readonly { readonly topic: Topic; readonly partition: number }[],
  window: Window,
  { missed, signal }: FindOptions,
): Promise<Cursor[]> {
  const cursors: Cursor[] = []
  for (let at = 0; at < places.length; at += ASKED_AT_ONCE) {
    throwIfAborted(signal)
    const some = places.slice(at, at + ASKED_AT_ONCE)
    const offsets = await Promise.all(
      some.map(({ topic, partition }) =>
        log.offsetAt(topic.id, partition, window.from).catch((error: unknown) => {
          // The others may hold it: what could not be asked is told.
          missed(
            `${topic.name}/${partition} was not looked through: ${describeError(error).message}`,
          )
          return null
        }),
      ),
    )
    for (const [index, place] of some.entries()) {
      const offset = offsets[index]
      if (offset != null) cursors.push({ ...place, window, offset, looked: 0, done: false })
    }
  }
  return cursors
}

async function readThrough(
  log: Log,
  cursors: readonly Cursor[],
  wanted: Wanted,
  found: EventFact[],
  { first = false, note, missed, signal }: FindOptions,
): Promise<void> {
  for (;;) {
    const due = cursors.filter(({ done, looked }) => !done && looked < MAX_LOOKED_AT)
    if (due.length === 0) return
    const results = await log.read(
      due.map(({ topic, partition, offset }) => ({
        topic: topic.name,
        topicId: topic.id,
        partition,
        offset,
        maxRecords: RECORDS,
        maxBytes: BYTES,
      })),
      signal === undefined ? {} : { signal },
    )
    for (const [index, cursor] of due.entries()) {
      const result = results[index]
      const place = `${cursor.topic.name}/${cursor.partition}`
      if (result?.unavailable !== undefined)
        missed(`${place} was not looked through: ${result.unavailable}`)
      else if (result?.corrupt !== undefined)
        note(`${place} was not looked through: ${result.corrupt.reason}`)
      const records = result?.records ?? []
      found.push(...fitting(records, cursor.window, wanted))
      cursor.looked += records.length
      const last = records.at(-1)
      const isBehind = last !== undefined && +last.timestamp > +cursor.window.to + DISORDER_MS
      const next = result?.nextOffset ?? cursor.offset
      cursor.done =
        isBehind || next <= cursor.offset || (result !== undefined && next >= result.end)
      cursor.offset = next
    }
    if (first && found.length > 0) return
  }
}

function fitting(records: readonly LogRecord[], { from, to }: Window, wanted: Wanted): EventFact[] {
  return records
    .filter(({ timestamp }) => +timestamp >= +from && +timestamp <= +to)
    .map((record) => eventFact(record))
    .filter((event) => isWanted(event, wanted))
}
