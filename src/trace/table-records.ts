import { throwIfAborted } from '../core/abort.ts'
import { HEADER } from '../events/envelope.ts'
import { headersFromJson } from '../log/headers-json.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { eventFact } from './event-fact.ts'
import { isWanted, type RecordFinder } from './record-finder.ts'

/** Records that are looked at in one window. */
const MAX_LOOKED_AT = 500_000
/** Events that one search gives. */
const MAX_FOUND = 2_000

interface Row extends Record<string, unknown> {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly offset: string
  readonly timestamp: Date
  readonly key: Buffer | null
  readonly headers: string
  readonly n: string
}

/**
 * Finds events in the table log. Which block may hold a window is known by an index of block ranges, which costs writers next
 * to nothing; the headers of all records in the window are then searched as text: a second for a million.
 */
export function tableRecords(db: Queryable): RecordFinder {
  return {
    maxWindows: 64,
    async find(wanted, windows, { first = false, note, signal }) {
      if (windows.length === 0) return []
      throwIfAborted(signal)
      const name = HEADER[wanted.by]
      const { rows } = await db.query<Row>(
        `/* millrace:trace-records */ select t.name as topic, f.topic_id as "topicId", f.partition, f."offset"::text as "offset",
           f."timestamp", f.key, f.headers::text as headers, f.n::text as n
         from unnest($1::timestamptz[], $2::timestamptz[]) w(from_at, to_at)
         cross join lateral (
           select c.* from (
             select r.topic_id, r.partition, r."offset", r."timestamp", r.key, r.headers, row_number() over () as n
             from millrace.record r
             where r."timestamp" >= w.from_at and r."timestamp" <= w.to_at limit ${MAX_LOOKED_AT}
           ) c
           where strpos(c.headers::text, $3) > 0 or c.n = ${MAX_LOOKED_AT}
         ) f
         join millrace.topic t on t.id = f.topic_id
         limit $4`,
        [
          windows.map(({ from }) => from),
          windows.map(({ to }) => to),
          JSON.stringify([name, wanted.value]),
          first ? 1 : MAX_FOUND,
        ],
      )
      if (rows.some(({ n }) => Number(n) >= MAX_LOOKED_AT)) {
        note(
          `in one stretch of time there are more than ${MAX_LOOKED_AT} records; the rest of them were not looked at`,
        )
      }
      if (!first && rows.length >= MAX_FOUND)
        note(`more than ${MAX_FOUND} events; the rest are not shown`)
      return rows
        .map(({ headers, offset, ...row }) =>
          eventFact({ ...row, offset: BigInt(offset), headers: headersFromJson(headers) }),
        )
        .filter((event) => isWanted(event, wanted))
    },
  }
}
