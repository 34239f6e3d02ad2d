import { parseAsked } from './asked.ts'
import type { EventFact, JobFact } from './facts.ts'
import { recordsAt } from './find-asked.ts'
import { recordKey } from './graph.ts'
import type { NamedPlace } from './handling-facts.ts'
import type { Sources } from './sources.ts'
import { CLOCK_MS } from './windows.ts'

/** Records that are read because something names them as its cause. */
const MAX_RECORDS = 500

/** What a cause led to. */
type Effect = Pick<EventFact, 'correlationId' | 'causationId' | 'causationRecord' | 'at'>

/**
 * The events that these name by where their records stand, for their ids are in no header; those of `known` are left out, and
 * those read are added to it. A record that was written after what it is to have led to is another one, in a topic that was made anew.
 */
export async function causesOf(
  sources: Sources,
  events: Iterable<EventFact>,
  jobs: Iterable<JobFact>,
  known: Set<string>,
): Promise<EventFact[]> {
  const effects = new Map<string, Effect>()
  for (const effect of [...events, ...[...jobs].map((job) => ({ ...job, at: job.createdAt }))]) {
    const key = effect.causationRecord
    if (key === null || known.has(key)) continue
    known.add(key)
    if (effects.size < MAX_RECORDS) effects.set(key, effect)
  }
  const places = await Promise.all([...effects.keys()].map((key) => placeOf(sources, key)))
  const effectOf = ({ topic, partition, offset }: NamedPlace): Effect =>
    effects.get(recordKey(topic, partition, offset)) as Effect
  const found = await recordsAt(
    sources,
    places.flatMap((place) => place ?? []),
    (place) => {
      const { correlationId, causationId, at } = effectOf(place)
      return { id: causationId ?? correlationId, type: null, correlationId, at }
    },
  )
  return found.flatMap((event) => {
    const { correlationId, causationId, at } = effectOf(event as NamedPlace)
    if (+event.at > +at + CLOCK_MS) return []
    return [{ ...event, id: causationId ?? event.id, correlationId }]
  })
}

async function placeOf({ log }: Sources, key: string): Promise<NamedPlace | undefined> {
  const asked = parseAsked(key)
  if (asked.kind !== 'record') return undefined
  const { topic, partition, offset } = asked
  const { id: topicId } = (await log.topic(topic)) ?? {}
  return topicId === undefined ? undefined : { topic, topicId, partition, offset }
}
