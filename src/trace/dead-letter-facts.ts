import type { Queryable } from '../postgres/queryable.ts'
import type { DeadLetterFact } from './facts.ts'
import type { Place } from './handling-facts.ts'

const MAX_LETTERS = 1_000

const COLUMNS = `d.id::text as id, d.application, d.handler, d.stage, d.topic_id as "topicId", d.partition,
  d."offset"::text as "offset", d.job_id as "jobId",
  json_build_object('class', d.error->>'class', 'code', d.error->>'code', 'message', left(d.error->>'message', 300)) as error,
  d.attempts, d.state, d.created_at as "createdAt"`

type Row = Omit<DeadLetterFact, 'id' | 'offset'> & {
  readonly id: string
  readonly offset: string | null
} & Record<string, unknown>

/** Dead letters of these jobs, and of these records for these applications, by number. Both are found by indexes. */
export async function deadLettersOf(
  db: Queryable,
  jobIds: readonly string[],
  places: readonly Place[],
  applications: readonly string[],
): Promise<DeadLetterFact[]> {
  if (jobIds.length === 0 && places.length === 0) return []
  const { rows } = await db.query<Row>(
    `/* millrace:trace-dead-letters */ select ${COLUMNS} from millrace.dead_letter d
     where d.id in (
       select l.id from millrace.dead_letter l where l.job_id = any ($1::uuid[])
       union all
       select l.id from unnest($2::uuid[], $3::int[], $4::bigint[]) u(topic_id, partition, at)
       join millrace.dead_letter l on l.application = any ($5::text[]) and l.topic_id = u.topic_id
         and l.partition = u.partition and l."offset" = u.at and l.job_id is null
     )
     order by d.id limit ${MAX_LETTERS}`,
    [
      jobIds,
      places.map(({ topicId }) => topicId),
      places.map(({ partition }) => partition),
      places.map(({ offset }) => offset),
      applications,
    ],
  )
  return rows.map(({ id, offset, ...row }) => ({
    ...row,
    id: BigInt(id),
    offset: offset === null ? null : BigInt(offset),
  }))
}

/** Where the dead letters of an event stand, by the event's id: all are looked through. For ids that have no time in them. */
export async function deadLetterOfEvent(
  db: Queryable,
  eventId: string,
): Promise<bigint | undefined> {
  const { rows } = await db.query<{ id: string }>(
    `/* millrace:trace-dead-letter-event */ select id::text as id from millrace.dead_letter
     where event_id = $1 order by id limit 1`,
    [eventId],
  )
  return rows[0] === undefined ? undefined : BigInt(rows[0].id)
}
