import type { EventFact } from './facts.ts'
import type { Window } from './windows.ts'

/** What to look for in the headers of records. */
export interface Wanted {
  readonly by: 'id' | 'correlationId'
  readonly value: string
}

/** Finds events in a log by what their headers say. */
export interface RecordFinder {
  /** Most windows that one search takes. */
  readonly maxWindows: number
  /**
   * Records with a timestamp in one of the windows whose headers say so; `first`: stops at the first. What could not be
   * looked through is told to `note`.
   */
  find(
    wanted: Wanted,
    windows: readonly Window[],
    options: { readonly first?: boolean; readonly note: (text: string) => void },
  ): Promise<EventFact[]>
}

/** Whether an event is what is looked for. */
export function isWanted(event: EventFact, { by, value }: Wanted): boolean {
  return event[by] === value
}
