import { decodeMeta } from '../jobs/meta.ts'
import type { JobState } from '../jobs/state.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { AttemptFact, JobFact } from './facts.ts'
import { recordKey } from './graph.ts'
import type { NamedPlace } from './handling-facts.ts'
import { CLOCK_MS, type Window } from './windows.ts'

/** Jobs of one correlation that are looked at: some 600 bytes each. */
export const MAX_JOBS = 20_000
/** Attempts that are read. */
export const MAX_ATTEMPTS = 5_000
/** Characters of an error's text. */
const ERROR_LENGTH = 300
/** Of the correlation id, as the index of the history has it. */
const INDEXED = 36

interface Row extends Record<string, unknown> {
  readonly id: string
  readonly kind: string
  readonly queue: string
  readonly state: JobState
  readonly attempt: number
  readonly maxAttempts: number
  readonly suspect: boolean
  readonly application: string | null
  readonly meta: string | null
  readonly createdAt: Date
  readonly scheduledAt: Date
  readonly attemptedAt: Date | null
  readonly finishedAt: Date | null
  readonly processId: string | null
  readonly errorName: string | null
  readonly errorMessage: string | null
  readonly reason: string | null
}

const SHARED = `id, kind, queue, state, attempt, max_attempts as "maxAttempts", application, meta,
  created_at as "createdAt", scheduled_at as "scheduledAt", attempted_at as "attemptedAt", process_id as "processId",
  coalesce(last_error->>'code', last_error->>'class') as "errorName",
  left(last_error->>'message', ${ERROR_LENGTH}) as "errorMessage"`
const HOT = `${SHARED}, null::timestamptz as "finishedAt", null::text as reason, suspect`
const KEPT = `${SHARED}, finished_at as "finishedAt", left(reason, ${ERROR_LENGTH}) as reason, false as suspect`

/** The job with that id, or `undefined`. */
export async function jobById(db: Queryable, id: string): Promise<JobFact | undefined> {
  const { rows } = await db.query<Row>(
    `/* millrace:trace-job */ select ${HOT} from millrace.job where id = $1
     union all select ${KEPT} from millrace.job_history where id = $1 limit 1`,
    [id],
  )
  return rows[0] === undefined ? undefined : fact(rows[0])
}

/**
 * The jobs that follow from one beginning, oldest first, at most {@link MAX_JOBS}; `more`: there are others.
 *
 * Finished ones are found by an index. Those that are not finished have none, so that inserting pays for none: all that were
 * made since `since` are looked through, 1 µs or so for each, which is a second for a backlog of a million.
 */
export async function jobsOf(
  db: Queryable,
  correlationId: string,
  since: Date | null,
): Promise<{ readonly jobs: JobFact[]; readonly more: boolean }> {
  const quoted = JSON.stringify(correlationId)
  // What stands in the text from the id on, as far as it is known: with its closing quotation mark.
  const prefix = Array.from(quoted.slice(1)).slice(0, INDEXED).join('')
  const indexed = `left(split_part(meta, '"correlationId":"', 2), ${INDEXED}) collate "C"`
  const needle = `"correlationId":${quoted}`
  const { rows } = await db.query<Row>(
    `/* millrace:trace-jobs */ select * from (
       (select ${HOT} from millrace.job where ($1::uuid is null or id >= $1) and strpos(meta, $2) > 0 limit $5)
       union all
       (select ${KEPT} from millrace.job_history
        where meta is not null and ${indexed} >= $3 and ${indexed} < $4 and strpos(meta, $2) > 0 limit $5)
     ) found order by id limit $5`,
    [
      since === null ? null : firstId(since),
      needle,
      prefix,
      // Behind the quotation mark follows `,` or `}`, and `~` is behind both.
      `${prefix}~`,
      MAX_JOBS + 1,
    ],
  )
  // Origins hold a text of their own, in which nobody's quotation marks are unescaped; still, only an equal one counts.
  const jobs = rows.map(fact).filter((job) => job.correlationId === correlationId)
  return { jobs: jobs.slice(0, MAX_JOBS), more: rows.length > MAX_JOBS }
}

/** Finished jobs of one stretch of time that are looked at. */
const MAX_LOOKED_AT = 200_000

/**
 * A job that was made from this record, or while it was handled, if there is one: for a record whose headers do not say what
 * its event's ids are. Looks through the jobs that are not finished, and through those that were made in `windows`.
 */
export async function jobMadeFrom(
  db: Queryable,
  { topic, topicId, partition, offset }: NamedPlace,
  at: Date,
  windows: readonly Window[],
): Promise<JobFact | undefined> {
  const { rows } = await db.query<Row>(
    `/* millrace:trace-job-of-record */ (select ${HOT} from millrace.job
       where strpos(meta, $1) > 0 or (strpos(meta, $4) > 0 and id >= $5) limit 1)
     union all
     (select f.* from unnest($2::uuid[], $3::uuid[]) w(from_id, to_id)
      cross join lateral (
        select ${KEPT} from (
          select * from millrace.job_history h where h.id >= w.from_id and h.id < w.to_id limit ${MAX_LOOKED_AT}
        ) c where strpos(meta, $1) > 0 or (strpos(meta, $4) > 0 and id >= $5) limit 1
      ) f limit 1)
     limit 1`,
    [
      `"topicId":"${topicId}","partition":${partition},"offset":"${offset}"`,
      windows.map(({ from }) => firstId(from)),
      windows.map(({ to }) => firstId(to)),
      `"causationRecord":${JSON.stringify(recordKey(topic, partition, offset))}`,
      // What names this place and is older than the record comes from a topic of that name that was deleted.
      firstId(new Date(+at - CLOCK_MS)),
    ],
  )
  return rows[0] === undefined ? undefined : fact(rows[0])
}

/** An id below all UUIDs version 7 that are made from `time` on. */
function firstId(time: Date): string {
  const hex = Math.max(0, +time).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`
}

/** Attempts that did not complete these jobs, oldest first. */
export async function attemptsOf(
  db: Queryable,
  jobIds: readonly string[],
): Promise<readonly AttemptFact[]> {
  if (jobIds.length === 0) return []
  const { rows } = await db.query<AttemptFact & Record<string, unknown>>(
    `/* millrace:trace-attempts */ select job_id as "jobId", attempt, outcome, process_id as "processId",
       attempted_at as "attemptedAt", finished_at as "finishedAt",
       case when error is not null then json_build_object('class', error->>'class', 'code', error->>'code',
         'message', left(error->>'message', ${ERROR_LENGTH})) end as error
     from millrace.job_attempt where job_id = any ($1::uuid[]) order by finished_at limit ${MAX_ATTEMPTS}`,
    [jobIds],
  )
  return rows
}

function fact({ meta, errorName, errorMessage, ...row }: Row): JobFact {
  const { origin, correlationId, causationId, causationRecord, traceparent } = decodeMeta(meta)
  return {
    ...row,
    origin: origin ?? null,
    // A job without a cause is a beginning of its own.
    correlationId: correlationId ?? row.id,
    causationId: causationId ?? null,
    causationRecord: causationRecord ?? null,
    traceparent: traceparent ?? null,
    error: errorName === null ? null : { name: errorName, message: errorMessage ?? '' },
  }
}
