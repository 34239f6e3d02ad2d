import type { Operator } from '../app/operator.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { nearest } from './nearest.ts'
import type { Place } from './place.ts'
import type { TailedRecord } from './record-line.ts'

type Log = Awaited<ReturnType<Operator['log']>>
type Topic = Awaited<ReturnType<Log['topics']>>[number]

/** Options of {@link tail}. */
export interface TailOptions {
  readonly operator: Operator
  /** One topic; undefined: all, also those made later. */
  readonly topic: string | undefined
  readonly partition: number | undefined
  readonly from: Place
  /** Whether to wait for more at the end. */
  readonly follow: boolean
  /** Told of what is odd: purged records, topics that went away. */
  readonly onNotice: (text: string) => void
  readonly signal: AbortSignal
}

interface Cursor {
  readonly topicId: string
  readonly topic: string
  readonly partition: number
  offset: bigint
  /** Why it could not be read, the last time. */
  unavailable?: string | undefined
  /** Where this ends without `follow`. */
  readonly until: bigint
}

/** Partitions per read, and what each may give at once: bounds the memory. */
const PARTITIONS = 64
const RECORDS = 200
const BYTES = 256 * 1024
const IDLE_MS = 200
/** Idle looks between two looks for new topics. */
const LOOKS = 25

/**
 * Records as they come: within a partition by their offsets, over partitions by the time of the first record that each
 * has left, as far as they were read together.
 * Nobody's position is touched.
 * @throws E_LOG_UNKNOWN_TOPIC when the topic asked for is not there.
 */
export async function* tail(options: TailOptions): AsyncGenerator<TailedRecord, void, void> {
  const { operator, follow, signal } = options
  const log = await operator.log()
  const cursors = new Map<string, Cursor>()
  await addCursors(log, options, await topicsOf(log, options), cursors, options.from)
  for (let idle = 0; !signal.aborted; ) {
    const due = [...cursors.values()].filter((cursor) => follow || cursor.offset < cursor.until)
    if (due.length === 0 && !follow) return
    const records = await readOnce(log, due, cursors, options)
    yield* records
    if (records.length > 0 || !follow) continue
    idle += 1
    if (options.topic === undefined && idle % LOOKS === 0) {
      await addCursors(log, options, await log.topics(), cursors, 'beginning')
    }
    // Rejects when it is aborted: that ends the wait, and the loop.
    await operator.core.clock.sleep(IDLE_MS, { signal }).catch(() => {})
  }
}

async function topicsOf(log: Log, { topic }: TailOptions): Promise<readonly Topic[]> {
  if (topic === undefined) return log.topics()
  const found = await log.topic(topic)
  if (found !== undefined) return [found]
  const names = (await log.topics()).map(({ name }) => name)
  const meant = nearest(topic, names)
  const hint =
    meant === undefined ? `There are: ${names.join(', ') || 'none'}` : `Did you mean '${meant}'?`
  throw new MillraceError('E_LOG_UNKNOWN_TOPIC', `the log has no topic '${topic}'. ${hint}`, {
    details: { topic },
  })
}

async function addCursors(
  log: Log,
  { partition: only, onNotice }: TailOptions,
  topics: readonly Topic[],
  cursors: Map<string, Cursor>,
  from: Place,
): Promise<void> {
  for (const { id, name } of topics) {
    for (const { partition, start, end, unavailable } of await log.offsets(id)) {
      const key = `${id}/${partition}`
      if (cursors.has(key) || (only !== undefined && only !== partition)) continue
      // Looked at again by a tail that follows.
      if (unavailable !== undefined) {
        onNotice(`${name}/${partition} cannot be read just now: ${unavailable}`)
        continue
      }
      const offset = await firstOffset(log, id, partition, { start, end }, from)
      cursors.set(key, { topicId: id, topic: name, partition, offset, until: end })
    }
  }
}

async function firstOffset(
  log: Log,
  topicId: string,
  partition: number,
  { start, end }: { readonly start: bigint; readonly end: bigint },
  from: Place,
): Promise<bigint> {
  if (from === 'beginning') return start
  if (from === 'end') return end
  if ('time' in from) return log.offsetAt(topicId, partition, from.time)
  return from.offset < start ? start : from.offset > end ? end : from.offset
}

async function readOnce(
  log: Log,
  due: readonly Cursor[],
  cursors: Map<string, Cursor>,
  { follow, onNotice, signal }: TailOptions,
): Promise<TailedRecord[]> {
  const found: { readonly record: TailedRecord; readonly turn: number }[] = []
  for (let at = 0; at < due.length && !signal.aborted; at += PARTITIONS) {
    const some = due.slice(at, at + PARTITIONS)
    const results = await log.read(
      some.map(({ topicId, topic, partition, offset }) => ({
        topicId,
        topic,
        partition,
        offset,
        maxRecords: RECORDS,
        maxBytes: BYTES,
      })),
    )
    for (const [index, cursor] of some.entries()) {
      const result = results[index]
      if (result === undefined) continue
      const place = `${cursor.topic}/${cursor.partition}`
      if (result.unavailable !== undefined && cursor.unavailable === undefined) {
        onNotice(`${place} cannot be read just now, trying again: ${result.unavailable}`)
      }
      cursor.unavailable = result.unavailable
      if (result.corrupt !== undefined) {
        onNotice(`${place}: ${result.corrupt.reason}; its later records are left out`)
        cursors.delete(`${cursor.topicId}/${cursor.partition}`)
      } else if (result.outOfRange === 'unknown-partition') {
        onNotice(`${place} is gone: the topic was deleted`)
        cursors.delete(`${cursor.topicId}/${cursor.partition}`)
      } else if (result.outOfRange !== undefined) {
        const next = result.outOfRange === 'before-start' ? result.logStart : result.end
        onNotice(
          `${place}: offset ${cursor.offset} is ${result.outOfRange === 'before-start' ? 'purged' : 'behind the end'}; going on at ${next}`,
        )
        cursor.offset = next
      } else {
        // What came after the start of a tail that does not follow is not asked for.
        let turn = 0
        for (const record of result.records) {
          if (!follow && record.offset >= cursor.until) break
          turn = Math.max(turn, record.timestamp.getTime())
          found.push({ record, turn })
        }
        cursor.offset = result.nextOffset
      }
    }
  }
  // To sort by the latest time so far in each partition is to merge the partitions by their heads, and the sort is stable:
  // a record older than the one before it in its partition comes right after that one.
  return found.sort((a, b) => a.turn - b.turn).map(({ record }) => record)
}
