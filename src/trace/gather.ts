import type { Pause } from '../control/pauses.ts'
import { listPauses } from '../control/pauses.ts'
import { throwIfAborted } from '../core/abort.ts'
import { readEffects } from '../timeline/effect-rows.ts'
import { timeIn } from './asked.ts'
import { causesOf } from './cause-records.ts'
import { deadLettersOf, lettersAt, replaysOf } from './dead-letter-facts.ts'
import { eventById } from './event-by-id.ts'
import { asKnownBy } from './event-fact.ts'
import type { AttemptFact, EventFact, HandlingFact, JobFact, TraceFacts } from './facts.ts'
import { recordsAt, type FoundAsked } from './find-asked.ts'
import { eventKey, recordKey } from './graph.ts'
import { handlingsOf, type NamedPlace, type Place } from './handling-facts.ts'
import { holdsOf } from './hold-facts.ts'
import { attemptsOf, jobById, jobsOf, MAX_ATTEMPTS, MAX_JOBS } from './job-facts.ts'
import { waitingInOutbox } from './outbox-facts.ts'
import type { Sources } from './sources.ts'
import { around, CLOCK_MS, mergeWindows, unseen, type Window } from './windows.ts'

/** Records that are read because jobs came from them. */
const MAX_ORIGINS = 500
/** Events that are looked at. */
const MAX_EVENTS = 2_000
/** Turns of looking for what followed from what was found in the turn before. */
const MAX_TURNS = 20
/** Jobs whose earlier attempts are looked at for what they may have published. */
const MAX_ODD_JOBS = 2_000
/** Effects that are read. */
const MAX_EFFECTS = 5_000
/** How far clocks of processes may be apart. */
const SLACK_MS = 5_000
/** What a handler in a position's transaction publishes bears the time of its call, before the batch's commit. */
const BATCH_MS = 15_000

/** Facts, and what is shared by them. */
export interface Gathered {
  readonly facts: TraceFacts
  readonly correlationId: string
}

/**
 * Collects everything that follows from the same beginning as what was asked for: jobs by their correlation id, then in turns
 * the events that were written while something was at work on it, and what became of those.
 */
export async function gatherLight(
  sources: Sources,
  found: FoundAsked,
  now: Date,
): Promise<Gathered & { readonly pauses: readonly Pause[] }> {
  const { db, log, note, records, signal } = sources
  const { correlationId } = found
  const since = timeIn(correlationId)
  const { jobs: made, more } = await jobsOf(db, correlationId, since && new Date(+since - CLOCK_MS))
  if (more) note(`there are more than ${MAX_JOBS} jobs; the rest of them were not looked at`)
  const jobs = new Map([...found.jobs, ...made].map((job) => [job.id, job]))
  const events = new Map(found.events.map((event) => [eventKey(event), event]))
  const addEvents = (more: readonly EventFact[]): number => {
    const before = events.size
    for (const event of more) {
      if (events.size >= MAX_EVENTS) break
      if (!events.has(eventKey(event))) events.set(eventKey(event), event)
    }
    return events.size - before
  }
  addEvents(await originsOf(sources, [...jobs.values()], events))
  const causes = new Set<string>()
  await addBeginning(sources, correlationId, { jobs, events, addEvents })

  const pauses = await listPauses(db)
  const odd = [...jobs.values()].filter(
    ({ attempt, state }) => attempt > 1 || state !== 'completed',
  )
  const attempts = await attemptsOf(
    db,
    odd.slice(0, MAX_ODD_JOBS).map(({ id }) => id),
  )
  const handlings: HandlingFact[] = []
  const looked = new Set<string>()
  let seen: Window[] = []
  for (let turn = 0; turn < MAX_TURNS; turn += 1) {
    throwIfAborted(signal)
    for (const key of events.keys()) causes.add(key)
    addEvents(await causesOf(sources, events.values(), jobs.values(), causes))
    const fresh = [...events.values()].filter((event) => !looked.has(eventKey(event)))
    for (const event of fresh) looked.add(eventKey(event))
    const more = await handlingsOf(db, placesOf(fresh), pauses)
    handlings.push(...more)
    // What a replay published bears its time. Whether there are too many is told at the end.
    const letters = await lettersAt(db, placesOf(fresh), () => {})
    const windows = [
      ...fresh.map(({ at }) => around(at, at, SLACK_MS)),
      ...commitWindows([...more, ...letters.map(({ closedAt }) => ({ committedAt: closedAt }))]),
      ...(turn === 0 ? jobWindows([...jobs.values()], attempts, now) : []),
    ]
    const due = unseen(mergeWindows(windows, records.maxWindows), seen)
    if (due.length === 0) break
    seen = mergeWindows([...seen, ...due], Number.POSITIVE_INFINITY)
    const wanted = { by: 'correlationId', value: correlationId } as const
    if (addEvents(await records.find(wanted, due, { note, missed: note, signal })) === 0) break
  }
  if (!log.transactional) {
    const inLog = new Set([...events.values()].map(({ id }) => id))
    const waiting = await waitingInOutbox(db, { by: 'correlationId', value: correlationId })
    addEvents(waiting.filter(({ id }) => !inLog.has(id)))
  }
  if (events.size >= MAX_EVENTS)
    note(`more than ${MAX_EVENTS} events; the rest of them were not looked at`)
  const facts = {
    events: [...events.values()],
    jobs: [...jobs.values()],
    handlings,
    attempts,
    effects: [],
    letters: await lettersAt(db, placesOf([...events.values()]), note),
    deadLetters: [],
    replays: [],
    holds: [],
  }
  return { facts, correlationId, pauses }
}

/** Adds what is only looked up for what is shown: attempts, effects, what dead letters tell, and what held applications back. */
export async function gatherDetails(
  { db, note, signal }: Pick<Sources, 'db' | 'note' | 'signal'>,
  facts: TraceFacts,
  shown: Pick<TraceFacts, 'jobs' | 'events' | 'letters'>,
  pauses: readonly Pause[],
): Promise<TraceFacts> {
  throwIfAborted(signal)
  const jobIds = shown.jobs.map(({ id }) => id)
  const eventIds = [...new Set(shown.events.map(({ id }) => id))]
  const effects = await readEffects(db, jobIds, eventIds, MAX_EFFECTS)
  if (effects.length >= MAX_EFFECTS)
    note(`more than ${MAX_EFFECTS} effects; the rest were not read`)
  const attempts = await attemptsOf(db, jobIds)
  if (attempts.length >= MAX_ATTEMPTS) {
    note(`more than ${MAX_ATTEMPTS} attempts; the rest were not read`)
  }
  const letterIds = shown.letters.map(({ id }) => id)
  const deadLetters = await deadLettersOf(db, jobIds, letterIds, note)
  return {
    ...facts,
    attempts,
    effects,
    deadLetters,
    replays: await replaysOf(db, deadLetters),
    holds: await holdsOf(db, applicationsIn(facts.handlings), pauses),
  }
}

function applicationsIn(handlings: readonly HandlingFact[]): string[] {
  return [...new Set(handlings.map(({ application }) => application))]
}

/** The events that jobs came from, of those that are not known yet. */
async function originsOf(
  sources: Sources,
  jobs: readonly JobFact[],
  known: ReadonlyMap<string, EventFact>,
): Promise<EventFact[]> {
  const places = new Map<string, { readonly place: NamedPlace; readonly job: JobFact }>()
  for (const job of jobs) {
    if (job.origin === null) continue
    const { topic, topicId, partition, offset } = job.origin
    const key = recordKey(topic, partition, offset)
    if (!known.has(key) && !places.has(key)) {
      places.set(key, { place: { topic, topicId, partition, offset }, job })
    }
  }
  const all = [...places.values()]
  if (all.length > MAX_ORIGINS) {
    sources.note(`the jobs came from ${all.length} records; ${MAX_ORIGINS} of them were read`)
  }
  const found = await recordsAt(
    sources,
    all.slice(0, MAX_ORIGINS).map(({ place }) => place),
    ({ topic, partition, offset }) => {
      const { job } = places.get(recordKey(topic, partition, offset)) as { readonly job: JobFact }
      const id = job.causationId ?? job.correlationId
      return { id, type: null, correlationId: job.correlationId, at: timeIn(id) ?? job.createdAt }
    },
  )
  return found.map((event) => asKnownBy(event, places.get(eventKey(event))?.job))
}

/** What all of it began with, if it is not among what was found: an event or a job whose id is the correlation id. */
async function addBeginning(
  sources: Sources,
  correlationId: string,
  {
    jobs,
    events,
    addEvents,
  }: {
    readonly jobs: Map<string, JobFact>
    readonly events: ReadonlyMap<string, EventFact>
    addEvents(events: readonly EventFact[]): number
  },
): Promise<void> {
  if (timeIn(correlationId) === null || jobs.has(correlationId)) return
  for (const { id } of events.values()) if (id === correlationId) return
  const job = await jobById(sources.db, correlationId)
  if (job !== undefined) {
    jobs.set(job.id, job)
    return
  }
  const event = await eventById(sources, correlationId)
  if (event !== undefined) addEvents([event])
}

function placesOf(events: readonly EventFact[]): Place[] {
  return events.flatMap(({ topicId, partition, offset }) =>
    topicId === null || partition === null || offset === null
      ? []
      : [{ topicId, partition, offset }],
  )
}

function commitWindows(commits: readonly Pick<HandlingFact, 'committedAt'>[]): Window[] {
  return commits.flatMap(({ committedAt }) =>
    committedAt === null ? [] : [around(new Date(+committedAt - BATCH_MS), committedAt, SLACK_MS)],
  )
}

function jobWindows(
  jobs: readonly JobFact[],
  attempts: readonly AttemptFact[],
  now: Date,
): Window[] {
  return [
    ...jobs.flatMap(({ attemptedAt, finishedAt, state }) =>
      attemptedAt === null
        ? []
        : [
            around(
              attemptedAt,
              finishedAt ?? (state === 'executing' ? now : attemptedAt),
              SLACK_MS,
            ),
          ],
    ),
    ...attempts.map(({ attemptedAt, finishedAt }) =>
      around(attemptedAt ?? finishedAt, finishedAt, SLACK_MS),
    ),
  ]
}
