import type { Log } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { RecordFinder } from './record-finder.ts'

/**
 * Ids whose record was looked for in vain, with what the search left out: who asks again and again need not look for them
 * again. Only what will not turn up later is remembered.
 */
export type TraceMemory = Map<string, readonly string[]>

/** Where to look. */
export interface Sources {
  readonly db: Queryable
  readonly log: Log
  readonly records: RecordFinder
  readonly memory: TraceMemory
  readonly note: (text: string) => void
  /** Ends the search, between two statements or reads. */
  readonly signal: AbortSignal | undefined
}
