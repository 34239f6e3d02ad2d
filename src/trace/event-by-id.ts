import { throwIfAborted } from '../core/abort.ts'
import { timeIn } from './asked.ts'
import type { EventFact } from './facts.ts'
import { waitingInOutbox } from './outbox-facts.ts'
import type { Sources } from './sources.ts'
import type { Window } from './windows.ts'

/**
 * How far around the time in an id its record is looked for, in milliseconds: mostly the two times are the same, but
 * publishers may lag, and clocks differ.
 */
const JUST_BEFORE_MS = 100
const NEAR_MS = 5_000
const FAR_MS = 300_000

/** All that is looked through for an id with this time in it. */
export function reachOf(time: Date): Window {
  return { from: new Date(+time - FAR_MS), to: new Date(+time + FAR_MS) }
}

/**
 * The stretches of time that are looked through, one after the other. What bounds a search bounds it from the beginning of a
 * stretch on, so the first begins where the record is most likely to be, however many records there are in a second.
 */
function outwards(time: Date): Window[] {
  const steps: readonly (readonly [number, number])[] = [
    [-JUST_BEFORE_MS, NEAR_MS],
    [-NEAR_MS, -JUST_BEFORE_MS],
    [NEAR_MS, FAR_MS],
    [-FAR_MS, -NEAR_MS],
  ]
  return steps.map(([from, to]) => ({ from: new Date(+time + from), to: new Date(+time + to) }))
}

/**
 * The event with that id, in the outbox or in the log about the time that is in it. What the search left out is told only
 * where nothing was found.
 */
export async function eventById(
  { db, log, records, memory, note, signal }: Sources,
  id: string,
  time: Date | null = timeIn(id),
): Promise<EventFact | undefined> {
  const known = memory.get(id)
  if (known !== undefined) {
    known.forEach(note)
    return undefined
  }
  throwIfAborted(signal)
  const wanted = { by: 'id', value: id } as const
  // Before the log: what moves from here to there meanwhile is seen in one of the two, so that what is in neither is nowhere.
  const [waiting] = log.transactional ? [] : await waitingInOutbox(db, wanted)
  const leftOut = new Set<string>()
  let isSure = true
  for (const window of time === null ? [] : outwards(time)) {
    const [found] = await records.find(wanted, [window], {
      first: true,
      signal,
      note: (text) => void leftOut.add(text),
      missed(text) {
        isSure = false
        leftOut.add(text)
      },
    })
    if (found !== undefined) return found
  }
  if (waiting !== undefined) return waiting
  for (const text of leftOut) note(text)
  if (isSure && time !== null) memory.set(id, [...leftOut])
  return undefined
}
