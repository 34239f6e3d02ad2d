import type { EventFact } from './facts.ts'
import type { Window } from './windows.ts'

/** What to look for in the headers of records. */
export interface Wanted {
  readonly by: 'id' | 'correlationId' | 'causationRecord'
  readonly value: string
}

/** Options of {@link RecordFinder.find}. */
export interface FindOptions {
  /** Stops at the first. */
  readonly first?: boolean
  /** Told what a bound left out. */
  readonly note: (text: string) => void
  /** Told what nobody could say just now. */
  readonly missed: (text: string) => void
  /** Ends the search, between two statements or reads. */
  readonly signal: AbortSignal | undefined
}

/** Finds events in a log by what their headers say. */
export interface RecordFinder {
  /** Most windows that one search takes. */
  readonly maxWindows: number
  /**
   * Records with a timestamp in one of the windows whose headers say so.
   * @throws the signal's reason when it is aborted.
   */
  find(wanted: Wanted, windows: readonly Window[], options: FindOptions): Promise<EventFact[]>
}

/** Whether an event is what is looked for. */
export function isWanted(event: EventFact, { by, value }: Wanted): boolean {
  return event[by] === value
}
