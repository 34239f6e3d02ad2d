import type { DeadLetterStage, DeadLetterState } from './stage.ts'

/** Which dead letters to list. All given conditions hold at once. */
export interface DeadLetterFilter {
  readonly application?: string
  readonly handler?: string
  readonly stage?: DeadLetterStage
  readonly topic?: string
  readonly state?: DeadLetterState
  /** Only those of this group; `''`: those that were set aside before there were fingerprints. */
  readonly fingerprint?: string
  readonly since?: Date
  readonly until?: Date
  /** Only those with a lower number: the next page. */
  readonly before?: bigint
  /** At most this many. Default 50. Bounds 1 … 1,000. */
  readonly limit?: number
}

/** The conditions of a filter as SQL, with the parameters $1 to $9 that {@link filterValues} gives. */
export const FILTER_SQL = `($1::text is null or application = $1) and ($2::text is null or handler = $2)
       and ($3::text is null or stage = $3) and ($4::text is null or topic = $4)
       and ($5::text is null or state = $5)
       and ($6::timestamptz is null or created_at >= $6) and ($7::timestamptz is null or created_at < $7)
       and ($8::bigint is null or id < $8) and ($9::text is null or fingerprint = $9)`

/** See {@link FILTER_SQL}. */
export function filterValues(filter: DeadLetterFilter): unknown[] {
  return [
    filter.application ?? null,
    filter.handler ?? null,
    filter.stage ?? null,
    filter.topic ?? null,
    filter.state ?? null,
    filter.since ?? null,
    filter.until ?? null,
    filter.before ?? null,
    filter.fingerprint ?? null,
  ]
}
