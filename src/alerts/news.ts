import { withoutData } from '../dead-letter/fingerprint.ts'
import type { DeadLetterStage } from '../dead-letter/stage.ts'
import { storedError } from '../dead-letter/stored-error.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { UNTOLD, UNTOLD_FLOOD } from './queries.ts'

/** A fingerprint that nobody has been told of. */
export interface NewFingerprint {
  /** The same however often this is sent: receivers may drop what they know. */
  readonly id: string
  /** Null: jobs that no application made. */
  readonly application: string | null
  readonly fingerprint: string
  /** These three are null when its dead letters were deleted meanwhile. */
  readonly handler: string | null
  readonly stage: DeadLetterStage | null
  readonly error: {
    readonly class: string
    readonly code: string | null
    /** Without what may come from data: ids, numbers, quoted text, and where in the data something does not match. */
    readonly message: string
  } | null
  /** How many were set aside so far. */
  readonly count: number
  readonly firstSeenAt: Date
  /** Number of a dead letter of the kind. */
  readonly example: string
}

/** What there is to tell. */
export interface News {
  /** Those that are described: the most frequent. */
  readonly described: readonly NewFingerprint[]
  /** Ids of all, the described ones included. */
  readonly ids: readonly string[]
}

/** How an attempt may be repeated. All in milliseconds. */
export interface AttemptLimits {
  /** What the attempt may take. */
  readonly timeoutMs: number
  /** Wait after the first failure; doubles with each. */
  readonly backoffMs: number
  readonly maxBackoffMs: number
}

/** Most fingerprints that one message is about. */
const MOST = 10_000
/** Most fingerprints that one message describes. */
const DESCRIBED = 20

/** Notes that somebody is to be told from now on. What is older than an hour then is nobody's news. */
export async function beginTelling(db: Queryable): Promise<void> {
  await db.query(
    `/* millrace:alert-begin */ insert into millrace.alert_delivery default values on conflict (one) do nothing`,
  )
}

/**
 * Takes the next attempt, if there is news and it is time: gives its number, counted from 1. Until it has run out, nobody else
 * gets one, so a leader that takes over repeats what a dead one may have sent, and no sooner.
 */
export async function claimAttempt(
  db: Queryable,
  { timeoutMs, backoffMs, maxBackoffMs }: AttemptLimits,
): Promise<number | undefined> {
  const { rows } = await db.query<{ attempts: number }>(
    `/* millrace:alert-claim */ update millrace.alert_delivery a set attempts = a.attempts + 1,
       next_at = clock_timestamp()
         + ($1::float8 + least($3::float8, $2::float8 * power(2, least(a.attempts, 30)))) * interval '1 millisecond'
     where a.next_at <= clock_timestamp()
       and (exists (select from millrace.fingerprint f where ${UNTOLD})
         or exists (select from millrace.gap g where ${UNTOLD_FLOOD}))
     returning attempts`,
    [timeoutMs, backoffMs, maxBackoffMs],
  )
  return rows[0]?.attempts
}

/** What there is to tell now. */
export async function readNews(db: Queryable): Promise<News> {
  const { rows: all } = await db.query<{
    alert_id: string
    application: string
    fingerprint: string
  }>(
    `/* millrace:alert-news */ select f.alert_id, f.application, f.fingerprint
     from millrace.fingerprint f, millrace.alert_delivery a where ${UNTOLD}
     order by f.dead_lettered desc, f.first_seen_at limit ${MOST}`,
  )
  const first = all.slice(0, DESCRIBED)
  const { rows } = await db.query<DescribedRow>(
    `/* millrace:alert-describe */ select f.alert_id, nullif(f.application, '') as application, f.fingerprint,
       f.dead_lettered::text, f.first_seen_at, coalesce(l.id, f.example)::text as example, l.handler, l.stage, l.error
     from unnest($1::text[], $2::text[]) with ordinality k(application, fingerprint, ord)
     join millrace.fingerprint f on f.application = k.application and f.fingerprint = k.fingerprint
     left join lateral (
       (select d.id, d.handler, d.stage, d.error from millrace.dead_letter d
        where d.id = f.example and d.fingerprint = f.fingerprint)
       union all
       (select d.id, d.handler, d.stage, d.error from millrace.dead_letter d
        where coalesce(d.application, '') = f.application and d.fingerprint = f.fingerprint and d.state = 'open'
        order by d.created_at limit 1)
       limit 1
     ) l on true order by k.ord`,
    [first.map(({ application }) => application), first.map(({ fingerprint }) => fingerprint)],
  )
  return { described: rows.map(described), ids: all.map(({ alert_id: id }) => id) }
}

/** Notes that the receiver has these. */
export async function noteTold(tx: Queryable, ids: readonly string[]): Promise<void> {
  await tx.query(
    `/* millrace:alert-told */ update millrace.fingerprint set told_at = clock_timestamp()
     where alert_id = any ($1::uuid[]) and told_at is null`,
    [ids],
  )
}

/** Notes that the receiver has taken a message, and when it may be bothered again. */
export async function noteDelivered(tx: Queryable, spacingMs: number): Promise<void> {
  await tx.query(
    `/* millrace:alert-delivered */ update millrace.alert_delivery set attempts = 0, trouble = null,
       last_told_at = clock_timestamp(), next_at = clock_timestamp() + $1 * interval '1 millisecond'`,
    [spacingMs],
  )
}

/** Notes why an attempt failed; the next one may begin when the back-off is over. Only the last attempt's word counts. */
export async function noteTrouble(
  db: Queryable,
  attempt: number,
  trouble: string,
  { backoffMs, maxBackoffMs }: AttemptLimits,
): Promise<void> {
  await db.query(
    `/* millrace:alert-trouble */ update millrace.alert_delivery set trouble = $2, next_at = clock_timestamp()
       + least($4::float8, $3::float8 * power(2, least($1::integer - 1, 30))) * interval '1 millisecond'
     where attempts = $1::integer`,
    [attempt, trouble, backoffMs, maxBackoffMs],
  )
}

/** Gives an attempt back that was broken off by a stop, so that the next leader need not wait. */
export async function giveBack(db: Queryable, attempt: number): Promise<void> {
  await db.query(
    `/* millrace:alert-give-back */ update millrace.alert_delivery set attempts = attempts - 1, next_at = clock_timestamp()
     where attempts = $1`,
    [attempt],
  )
}

interface DescribedRow extends Record<string, unknown> {
  readonly alert_id: string
  readonly application: string | null
  readonly fingerprint: string
  readonly dead_lettered: string
  readonly first_seen_at: Date
  readonly example: string
  readonly handler: string | null
  readonly stage: DeadLetterStage | null
  readonly error: unknown
}

function described(row: DescribedRow): NewFingerprint {
  const error = row.handler === null ? null : storedError(row.error)
  return {
    id: row.alert_id,
    application: row.application,
    fingerprint: row.fingerprint,
    handler: row.handler,
    stage: row.stage,
    error:
      error === null
        ? null
        : { class: error.class, code: error.code ?? null, message: withoutData(error) },
    count: Number(row.dead_lettered),
    firstSeenAt: row.first_seen_at,
    example: row.example,
  }
}
