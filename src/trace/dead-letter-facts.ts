import type { Queryable } from '../postgres/queryable.ts'
import type { DeadLetterFact, LetterFact, ReplayFact } from './facts.ts'
import type { Place } from './handling-facts.ts'

/** Dead letters of records whose state is looked at: some 200 bytes each. */
const MAX_LETTERS = 20_000
/** Dead letters that are told whole. */
const MAX_TOLD = 1_000
/** Replays of one dead letter that are told, the newest. */
const MAX_REPLAYS = 20

const COLUMNS = `d.id::text as id, d.handler, d.stage, d.job_id as "jobId",
  json_build_object('class', d.error->>'class', 'code', d.error->>'code', 'message', left(d.error->>'message', 300)) as error,
  d.attempts, d.state, d.created_at as "createdAt", d.closed_at as "closedAt", d.replays`

/**
 * Which of these records applications have set aside, and what has become of that; by number, found by indexes. One that
 * another program had set aside is found where it was taken from. Where there are too many, which is told, those that are
 * closed are left out first.
 */
export async function lettersAt(
  db: Queryable,
  places: readonly Place[],
  note: (text: string) => void,
): Promise<LetterFact[]> {
  if (places.length === 0) return []
  const { rows } = await db.query<
    Omit<LetterFact, 'id' | 'offset'> & { id: string; offset: string } & Record<string, unknown>
  >(
    `/* millrace:trace-letters */ with u as (
       select * from unnest($1::uuid[], $2::int[], $3::bigint[]) u(topic_id, partition, at)
     ), found as (
       select u.*, d.id, d.application, d.state, d.closed_at from u
       join millrace.dead_letter d on d.topic_id = u.topic_id and d.partition = u.partition and d."offset" = u.at
         and d.job_id is null
       union all
       select u.*, d.id, d.application, d.state, d.closed_at from u
       join millrace.dead_letter d on d.trace->'takenFrom'->>'topicId' = u.topic_id::text
         and d.trace->'takenFrom'->>'partition' = u.partition::text and d.trace->'takenFrom'->>'offset' = u.at::text
         and d.job_id is null and d.topic_id is null
     )
     select id::text as id, application, topic_id as "topicId", partition, at::text as "offset", state,
       closed_at as "closedAt" from found
     order by state in ('open', 'parked') desc, found.id limit ${MAX_LETTERS + 1}`,
    [
      places.map(({ topicId }) => topicId),
      places.map(({ partition }) => partition),
      places.map(({ offset }) => offset),
    ],
  )
  if (rows.length > MAX_LETTERS) {
    note(
      `there are more than ${MAX_LETTERS} dead letters of these records; the rest of them were not looked at`,
    )
  }
  return rows
    .slice(0, MAX_LETTERS)
    .map(({ id, offset, ...row }) => ({ ...row, id: BigInt(id), offset: BigInt(offset) }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** What the dead letters of these jobs, and those with these numbers, tell; by number. Where there are too many, it is told. */
export async function deadLettersOf(
  db: Queryable,
  jobIds: readonly string[],
  ids: readonly bigint[],
  note: (text: string) => void,
): Promise<DeadLetterFact[]> {
  if (jobIds.length === 0 && ids.length === 0) return []
  const { rows } = await db.query<
    Omit<DeadLetterFact, 'id'> & { readonly id: string } & Record<string, unknown>
  >(
    `/* millrace:trace-dead-letters */ select ${COLUMNS} from millrace.dead_letter d
     where d.id in (
       select l.id from millrace.dead_letter l where l.job_id = any ($1::uuid[])
       union all select unnest($2::bigint[])
     )
     order by d.id limit ${MAX_TOLD + 1}`,
    [jobIds, ids],
  )
  if (rows.length > MAX_TOLD) {
    note(`more than ${MAX_TOLD} dead letters of what is shown; the rest of them are only counted`)
  }
  return rows.slice(0, MAX_TOLD).map(({ id, ...row }) => ({ ...row, id: BigInt(id) }))
}

/** What replays did with these dead letters, oldest first. */
export async function replaysOf(
  db: Queryable,
  letters: readonly Pick<DeadLetterFact, 'id'>[],
): Promise<ReplayFact[]> {
  if (letters.length === 0) return []
  const { rows } = await db.query<
    Omit<ReplayFact, 'deadLetter' | 'replay'> & { deadLetter: string; replay: string } & Record<
        string,
        unknown
      >
  >(
    `/* millrace:trace-replays */ select u.id::text as "deadLetter", o.replay_id::text as replay, r.dry_run as "dryRun",
       o.outcome, left(o.error->>'message', 300) as error, r.ordered_by as by, o.at
     from unnest($1::bigint[]) u(id)
     cross join lateral (
       select * from millrace.replay_outcome where dead_letter_id = u.id order by replay_id desc limit ${MAX_REPLAYS}
     ) o
     join millrace.replay r on r.id = o.replay_id
     order by o.at, o.replay_id`,
    [letters.map(({ id }) => id)],
  )
  return rows.map(({ deadLetter, replay, ...row }) => ({
    ...row,
    deadLetter: BigInt(deadLetter),
    replay: BigInt(replay),
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
