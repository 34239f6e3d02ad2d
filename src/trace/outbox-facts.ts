import { HEADER } from '../events/envelope.ts'
import { headersFromJson } from '../log/headers-json.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { eventFact } from './event-fact.ts'
import type { EventFact } from './facts.ts'
import { isWanted, type Wanted } from './record-finder.ts'

/** Records of the outbox that are looked at, and events that are given. */
const MAX_LOOKED_AT = 200_000
const MAX_FOUND = 500

interface Row extends Record<string, unknown> {
  readonly topic: string
  readonly timestamp: Date
  readonly key: Buffer | null
  readonly headers: string
}

/** Events that are in the outbox and not yet known to be in the log. What waits there is looked through. */
export async function waitingInOutbox(db: Queryable, wanted: Wanted): Promise<EventFact[]> {
  const name = HEADER[wanted.by]
  const { rows } = await db.query<Row>(
    `/* millrace:trace-outbox */ select o.topic, o."timestamp", o.key, o.headers::text as headers
     from (
       select r.* from millrace.outbox_shard s
       join millrace.outbox_record r on r.shard = s.shard and r."offset" > coalesce(s.relayed, 0)
       limit ${MAX_LOOKED_AT}
     ) o where strpos(o.headers::text, $1) > 0 limit ${MAX_FOUND}`,
    [JSON.stringify([name, wanted.value])],
  )
  return rows
    .map(({ headers, ...row }): EventFact => {
      const fact = eventFact({
        ...row,
        topicId: '',
        partition: 0,
        offset: 0n,
        headers: headersFromJson(headers),
      })
      return { ...fact, topicId: null, partition: null, offset: null, found: 'outbox' }
    })
    .filter((event) => isWanted(event, wanted))
}
