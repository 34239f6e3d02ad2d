import { getDeadLetter, type DeadLetter } from '../dead-letter/queries.ts'
import { isUuid } from '../core/ids.ts'
import { isMillraceError, MillraceError } from '../errors/millrace-error.ts'
import type { Log } from '../log/port.ts'
import type { Asked } from './asked.ts'
import { deadLetterOfEvent, lettersAt } from './dead-letter-facts.ts'
import { eventById, reachOf } from './event-by-id.ts'
import { asKnownBy, eventFact, isRecordId } from './event-fact.ts'
import type { EventFact, JobFact } from './facts.ts'
import { eventKey, recordKey } from './graph.ts'
import { handlingsOf, type NamedPlace } from './handling-facts.ts'
import { jobById, jobMadeFrom, jobsOf } from './job-facts.ts'
import { waitingInOutbox } from './outbox-facts.ts'
import { placeOfId } from './place-of-id.ts'
import type { Sources } from './sources.ts'
import { mergeWindows } from './windows.ts'

/** What was asked for, as it was found. */
export interface FoundAsked {
  readonly correlationId: string
  /** Key of its node; null: it has none. */
  readonly node: string | null
  readonly events: readonly EventFact[]
  readonly jobs: readonly JobFact[]
}

/**
 * Finds what was asked for.
 * @throws E_TRACE_NOT_FOUND, which says where was looked; E_DLQ_NOT_FOUND
 */
export async function findAsked(sources: Sources, asked: Asked): Promise<FoundAsked> {
  switch (asked.kind) {
    case 'record': {
      const event = await recordAt(sources, asked)
      return foundEvent(await withItsIds(sources, event))
    }
    case 'dead-letter':
      return foundLetter(sources, await getDeadLetter(sources.db, asked.id))
    case 'id':
      return byAnyId(sources, asked)
  }
}

async function byAnyId(
  sources: Sources,
  { id, time }: Extract<Asked, { readonly kind: 'id' }>,
): Promise<FoundAsked> {
  const leftOut = new Set<string>()
  const noting: Sources = {
    ...sources,
    note(text) {
      leftOut.add(text)
      sources.note(text)
    },
  }
  // Ids of events are compared as they are written; we write UUIDs in small letters.
  const forms = isUuid(id) ? new Set([id, id.toLowerCase()]) : [id]
  for (const form of forms) {
    const found = await byId(noting, form, time)
    if (found !== undefined) return found
  }
  throw notFound(id, time, [...leftOut])
}

/** How long before its batch's commit a job or an event may have been made, and after it by another clock, in milliseconds. */
const BATCH_MS = 60_000
const SKEW_MS = 5_000

/**
 * An event whose record has no ids, with those that its application gave it: a job that was made of it has them, and so has
 * an event that was published while it was handled, or replayed.
 */
async function withItsIds(sources: Sources, event: EventFact): Promise<EventFact> {
  const { db, log, records, note, signal } = sources
  const { topic, topicId, partition, offset, id } = event
  if (!isRecordId(id) || topicId === null || partition === null || offset === null) return event
  const place = { topic, topicId, partition, offset }
  const handlings = await handlingsOf(db, [place], [])
  const letters = await lettersAt(db, [place], note)
  const times = [
    ...handlings.map(({ committedAt }) => committedAt),
    ...letters.map(({ closedAt }) => closedAt),
  ].filter((at) => at !== null)
  const windows = times.map((at) => ({
    from: new Date(+at - BATCH_MS),
    to: new Date(+at + SKEW_MS),
  }))
  const job = await jobMadeFrom(db, place, event.at, windows)
  if (job !== undefined) return asKnownBy(event, job)
  const wanted = { by: 'causationRecord', value: recordKey(topic, partition, offset) } as const
  const [waiting] = log.transactional ? [] : await waitingInOutbox(db, wanted)
  const due = mergeWindows(windows, records.maxWindows)
  const options = { first: true, note, missed: note, signal }
  const next = waiting ?? (await records.find(wanted, due, options))[0]
  if (next === undefined) return event
  return { ...event, id: next.causationId ?? id, correlationId: next.correlationId }
}

function foundEvent(event: EventFact): FoundAsked {
  const { correlationId } = event
  return { correlationId, node: eventKey(event), events: [event], jobs: [] }
}

function foundJob(job: JobFact): FoundAsked {
  return { correlationId: job.correlationId, node: job.id, events: [], jobs: [job] }
}

async function byId(
  sources: Sources,
  id: string,
  time: Date | null,
): Promise<FoundAsked | undefined> {
  const { db } = sources
  const job = isUuid(id) ? await jobById(db, id) : undefined
  if (job !== undefined) return foundJob(job)
  const place = await placeOfId(sources.log, id)
  const record = place === undefined ? undefined : await recordOrWhy(sources, place)
  if (record !== undefined && !isMillraceError(record)) {
    return foundEvent(await withItsIds(sources, record))
  }
  const event = await eventById(sources, id, time)
  if (event !== undefined) return foundEvent(event)
  // Not in the log (any more), or its id tells no time: by what was made of it, if it is where all that began.
  const { jobs } = await jobsOf(db, id, time)
  const made = jobs.find(({ origin, causationId }) => origin !== null && causationId === id)
  if (made?.origin != null) {
    const { topic, partition, offset } = made.origin
    return { correlationId: id, node: `${topic}/${partition}/${offset}`, events: [], jobs }
  }
  if (jobs.length > 0) return { correlationId: id, node: null, events: [], jobs }
  const letter = await deadLetterOfEvent(db, id)
  if (letter !== undefined) return foundLetter(sources, await getDeadLetter(db, letter))
  if (record !== undefined) throw record
  return undefined
}

async function foundLetter(sources: Sources, letter: DeadLetter): Promise<FoundAsked> {
  const node = `dead letter ${letter.id}`
  const { jobId, trace } = letter
  const job = jobId === null ? undefined : await jobById(sources.db, jobId)
  if (job !== undefined) return { ...foundJob(job), node }
  const place = placeOf(letter)
  if (place === undefined) throw noOrigin(letter)
  const id =
    letter.eventId ?? trace.causationId ?? recordKey(place.topic, place.partition, place.offset)
  const [event] = await recordsAt(sources, [place], () => ({
    id,
    type: letter.eventType,
    correlationId: trace.correlationId ?? id,
    at: letter.recordTimestamp ?? letter.createdAt,
  }))
  const found = await withItsIds(sources, event as EventFact)
  return {
    correlationId: trace.correlationId ?? found.correlationId,
    node,
    events: [found],
    jobs: [],
  }
}

/**
 * Where the record of a dead letter stands. Of one that another program had set aside: where it was taken from, for the
 * place that its headers name says nothing of the topic's identity.
 */
function placeOf({ topic, topicId, partition, offset, trace }: DeadLetter): NamedPlace | undefined {
  if (topic !== null && topicId !== null && partition !== null && offset !== null) {
    return { topic, topicId, partition, offset }
  }
  const { takenFrom } = trace
  return takenFrom === undefined ? undefined : { ...takenFrom, offset: BigInt(takenFrom.offset) }
}

function noOrigin({ id, jobId }: DeadLetter): MillraceError {
  const why =
    jobId === null
      ? 'names no job and no record'
      : `came from job ${jobId}, which is not kept any more, and names no record`
  return new MillraceError(
    'E_TRACE_NOT_FOUND',
    `dead letter ${id} ${why}. See \`millrace dlq get ${id}\` for what it holds.`,
    { details: { id: String(id) } },
  )
}

/** Places of one read. */
const PER_READ = 32

/** The events at these places. Of one that is not there any more, or cannot be read, what `known` says. */
export async function recordsAt(
  { log, note, signal }: Pick<Sources, 'log' | 'note' | 'signal'>,
  places: readonly NamedPlace[],
  known: (place: NamedPlace) => Pick<EventFact, 'id' | 'type' | 'correlationId' | 'at'>,
): Promise<EventFact[]> {
  const found: EventFact[] = []
  for (let at = 0; at < places.length; at += PER_READ) {
    const some = places.slice(at, at + PER_READ)
    // A log that does not answer keeps nothing else from being shown.
    const results = await log
      .read(
        some.map((place) => ({ ...place, maxRecords: 1, maxBytes: 1 })),
        signal === undefined ? {} : { signal },
      )
      .catch((error: unknown) => {
        if (!isMillraceError(error) || !error.retryable) throw error
        note(`records were not read: ${error.message}`)
        return []
      })
    for (const [index, place] of some.entries()) {
      const result = results[index]
      const record = result?.records[0]
      if (record !== undefined && record.offset === place.offset) {
        found.push(eventFact(record))
        continue
      }
      const unread = result === undefined || result.unavailable !== undefined
      const rest = {
        source: null,
        key: null,
        causationId: null,
        causationRecord: null,
        traceparent: null,
      } as const
      found.push({ ...rest, ...place, ...known(place), found: unread ? 'unread' : 'gone' })
    }
  }
  return found
}

async function recordAt(
  sources: Sources,
  { topic: name, partition, offset }: Extract<Asked, { readonly kind: 'record' }>,
): Promise<EventFact> {
  const { log } = sources
  const place = `${name}/${partition}/${offset}`
  const topic = await log.topic(name)
  if (topic === undefined) {
    const names = (await log.topics()).map((one) => one.name)
    throw new MillraceError(
      'E_TRACE_NOT_FOUND',
      `there is no topic '${name}' in the log, so no record ${place}. There are: ${names.slice(0, 20).join(', ') || 'none'}.`,
      { details: { place } },
    )
  }
  const found = await recordOrWhy(sources, { topic: name, topicId: topic.id, partition, offset })
  if (isMillraceError(found)) throw found
  return found
}

/** The record at that place, or why there is none. */
async function recordOrWhy(
  { log }: Pick<Sources, 'log'>,
  place: NamedPlace,
): Promise<EventFact | MillraceError> {
  const [result] = await log.read([{ ...place, maxRecords: 1, maxBytes: 1 }])
  const record = result?.records[0]
  if (record !== undefined && record.offset === place.offset) return eventFact(record)
  const where = recordKey(place.topic, place.partition, place.offset)
  return new MillraceError('E_TRACE_NOT_FOUND', whyNoRecord(where, place.offset, result), {
    details: { place: where },
    retryable: result?.unavailable !== undefined,
  })
}

function whyNoRecord(
  place: string,
  offset: bigint,
  result: Awaited<ReturnType<Log['read']>>[number] | undefined,
): string {
  const text = `there is no record ${place}`
  const next = record(result?.records[0]?.offset)
  if (result === undefined) return text
  if (result.unavailable !== undefined) return `${text} to be read just now: ${result.unavailable}`
  if (result.outOfRange === 'unknown-partition') return `${text}: the topic has fewer partitions`
  if (offset < result.logStart)
    return `${text} any more: the partition begins at offset ${result.logStart}. If an application had set it aside, \`millrace dlq list\` has it.`
  if (offset >= result.end) return `${text} yet: the partition ends before offset ${result.end}`
  return `${text}: offsets have holes, and this is one.${next}`
}

function record(offset: bigint | undefined): string {
  return offset === undefined ? '' : ` The next record has offset ${offset}.`
}

/** `leftOut`: what of that was not looked through. */
function notFound(id: string, time: Date | null, leftOut: readonly string[]): MillraceError {
  return new MillraceError(
    'E_TRACE_NOT_FOUND',
    `nothing is known of '${id}'. ${time === null ? whyNotSearched(id) : whereLooked(time, leftOut)}`,
    { details: { id, leftOut } },
  )
}

function whyNotSearched(id: string): string {
  const why = isRecordId(id)
    ? 'Ids like it (UUIDs version 8) are made of where a record stands, but no partition of this log gives this one: its topic may have been deleted, or be in another log, or it is of another making.'
    : 'It has no time in it (it is no UUID version 7), so the log cannot be searched for it.'
  return `${why} Give the record's place, topic/partition/offset, as \`millrace events tail\` shows it.`
}

function whereLooked(time: Date, leftOut: readonly string[]): string {
  const looked = ['jobs that are not finished', 'the history of jobs', 'dead letters']
  const { from, to } = reachOf(time)
  const span = `from ${from.toISOString()} to ${to.toISOString()}, which is about the time in the id`
  const log =
    leftOut.length === 0
      ? `every topic ${span}`
      : `a part of the log ${span}. Not at all of it: ${leftOut.join('; ')}`
  const doubt = leftOut.length === 0 ? '' : 'be in what was not looked at, '
  return `Looked at: ${looked.join(', ')}, and ${log}. It may ${doubt}be from another database or log, too old to be kept, or published with a time of its own; then give the record's place, topic/partition/offset.`
}
