import type { Queryable } from '../postgres/queryable.ts'

/** Open dead letters of one application with one fingerprint: failures with the same cause. */
export interface DeadLetterGroup {
  /** Null: jobs that no application made. */
  readonly application: string | null
  /** Null: those that were set aside before there were fingerprints. */
  readonly fingerprint: string | null
  /** How many are open now. */
  readonly open: number
  /** How many became open within the last hour, to the minute. */
  readonly lastHour: number
  /** How long the oldest open one has been one, in milliseconds. Null: none is open. */
  readonly oldestAgeMs: number | null
  /** Number of the oldest open one. Null: none is open. */
  readonly oldest: bigint | null
  /** When the first of the group was set aside. */
  readonly firstSeenAt: Date
}

/** Open and parked dead letters of one application, whatever their fingerprint. */
export interface OpenDeadLetters {
  /** Null: jobs that no application made. */
  readonly application: string | null
  readonly open: number
  /** How many have failed in as many replays as were allowed, and wait for somebody. */
  readonly parked: number
  /** How many became open within the last hour, to the minute. */
  readonly lastHour: number
  /** How long the oldest open one has been one, in milliseconds. Null: none is open. */
  readonly oldestAgeMs: number | null
}

/** Most changes that one {@link foldDeadLetterGroups} takes. */
export const MAX_GROUP_FOLD = 50_000

/** Most groups that {@link readDeadLetterGroups} gives. */
const MAX_GROUPS = 1_000

const HOUR = `clock_timestamp() - interval '1 hour'`

/** Open and parked dead letters per application, for every application that ever had one, by name. Two looks per application. */
export async function readOpenDeadLetters(db: Queryable): Promise<OpenDeadLetters[]> {
  const { rows } = await db.query<OpenRow & { readonly parked: string }>(
    `/* millrace:dead-letter-open */ with n as (
       select application, sum(open)::bigint as open, sum(parked)::bigint as parked, sum(fresh)::bigint as fresh from (
         select application, open, parked, 0 as fresh from millrace.fingerprint
         union all
         select application, open, parked, case when at > ${HOUR} then dead_lettered else 0 end from millrace.fingerprint_delta
         union all
         select application, 0, 0, dead_lettered from millrace.fingerprint_minute where minute > (select ${HOUR})
       ) c group by application
     )
     select nullif(n.application, '') as application, n.open::text, n.parked::text, n.fresh::text,
       (extract(epoch from clock_timestamp() - o.created_at) * 1000)::float8 as age_ms
     from n left join lateral (
       select created_at from millrace.dead_letter l
       where coalesce(l.application, '') = n.application and l.state = 'open' order by created_at limit 1
     ) o on n.open > 0
     order by n.application`,
  )
  return rows.map((row) => ({
    application: row.application,
    parked: Math.max(0, Number(row.parked)),
    ...figures(row),
  }))
}

/** How many groups of one application there are, by what is left of them. */
export interface GroupCounts {
  /** Null: jobs that no application made. */
  readonly application: string | null
  /** Of which something is open. */
  readonly open: number
  /** Of which nothing is open, but something is parked. */
  readonly parked: number
  /** Of which everything was replayed or discarded. */
  readonly closed: number
}

/** The groups of every application that ever had one, by name. Reads one row per group. */
export async function countDeadLetterGroups(db: Queryable): Promise<GroupCounts[]> {
  const { rows } = await db.query<GroupCounts & Record<string, unknown>>(
    `/* millrace:dead-letter-group-counts */ select nullif(application, '') as application,
       (count(*) filter (where open > 0))::int as open,
       (count(*) filter (where open <= 0 and parked > 0))::int as parked,
       (count(*) filter (where open <= 0 and parked <= 0))::int as closed
     from (
       select application, fingerprint, sum(open) as open, sum(parked) as parked from (
         select application, fingerprint, open, parked from millrace.fingerprint
         union all select application, fingerprint, open, parked from millrace.fingerprint_delta
       ) c group by application, fingerprint
     ) g group by g.application order by g.application`,
  )
  return rows
}

/** The groups with most open dead letters, most first; at most `limit`, bounds 1 … 1,000. */
export async function readDeadLetterGroups(
  db: Queryable,
  limit: number,
): Promise<DeadLetterGroup[]> {
  const { rows } = await db.query<GroupRow>(
    `/* millrace:dead-letter-groups */ with d as materialized (
       select application, fingerprint, sum(open) as open, min(at) as at,
         sum(dead_lettered) filter (where at > ${HOUR}) as fresh
       from millrace.fingerprint_delta group by application, fingerprint
     ), k as (
       (select application, fingerprint from millrace.fingerprint where open <> 0 order by open desc limit $1)
       union select application, fingerprint from d
     ), top as (
       select k.application, k.fingerprint, coalesce(g.open, 0) + coalesce(d.open, 0) as open,
         coalesce(d.fresh, 0) as fresh, least(g.first_seen_at, d.at) as first_seen_at
       from k left join millrace.fingerprint g using (application, fingerprint)
         left join d using (application, fingerprint)
       order by open desc, first_seen_at desc limit $1
     )
     select nullif(t.application, '') as application, nullif(t.fingerprint, '') as fingerprint, t.open::text,
       t.first_seen_at, (t.fresh + coalesce(m.fresh, 0))::text as fresh, o.id::text as oldest,
       (extract(epoch from clock_timestamp() - o.created_at) * 1000)::float8 as age_ms
     from top t left join (
       select application, fingerprint, sum(dead_lettered) as fresh from millrace.fingerprint_minute
       where minute > (select ${HOUR}) group by application, fingerprint
     ) m using (application, fingerprint)
     left join lateral (
       select id, created_at from millrace.dead_letter l where coalesce(l.application, '') = t.application
         and l.fingerprint = t.fingerprint and l.state = 'open' order by created_at limit 1
     ) o on true
     where t.open > 0 order by t.open desc, t.first_seen_at desc`,
    [Math.min(MAX_GROUPS, Math.max(1, limit))],
  )
  return rows.map((row) => ({
    application: row.application,
    fingerprint: row.fingerprint,
    ...figures(row),
    oldest: row.oldest === null ? null : BigInt(row.oldest),
    firstSeenAt: row.first_seen_at,
  }))
}

/**
 * Folds what was changed into the groups, at most {@link MAX_GROUP_FOLD} changes, and returns how many it took. Several may
 * fold at once: each change is taken by one of them.
 */
export async function foldDeadLetterGroups(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ n: number }>(
    `/* millrace:dead-letter-fold */ with taken as (
       delete from millrace.fingerprint_delta where ctid in (
         select ctid from millrace.fingerprint_delta limit ${MAX_GROUP_FOLD} for update skip locked)
       returning application, fingerprint, open, parked, dead_lettered, example, at
     ), folded as (
       insert into millrace.fingerprint as g
         (application, fingerprint, open, parked, dead_lettered, first_seen_at, last_seen_at, example)
       select application, fingerprint, sum(open), sum(parked), sum(dead_lettered), min(at),
         coalesce(max(at) filter (where dead_lettered > 0), min(at)), min(example)
       from taken group by application, fingerprint order by application, fingerprint
       on conflict (application, fingerprint) do update set
         open = g.open + excluded.open, parked = g.parked + excluded.parked,
         dead_lettered = g.dead_lettered + excluded.dead_lettered,
         first_seen_at = least(g.first_seen_at, excluded.first_seen_at),
         last_seen_at = case when excluded.dead_lettered > 0
           then greatest(g.last_seen_at, excluded.last_seen_at) else g.last_seen_at end,
         example = least(g.example, excluded.example)
     ), counted as (
       insert into millrace.fingerprint_minute as m (minute, application, fingerprint, dead_lettered)
       select date_trunc('minute', at), application, fingerprint, sum(dead_lettered)
       from taken where dead_lettered > 0 group by 1, 2, 3 order by 1, 2, 3
       on conflict (minute, application, fingerprint) do update
         set dead_lettered = m.dead_lettered + excluded.dead_lettered
     )
     select count(*)::int as n from taken`,
  )
  return rows[0]?.n ?? 0
}

interface OpenRow extends Record<string, unknown> {
  readonly application: string | null
  readonly open: string
  readonly fresh: string
  readonly age_ms: number | null
}

interface GroupRow extends OpenRow {
  readonly fingerprint: string | null
  readonly oldest: string | null
  readonly first_seen_at: Date
}

function figures({
  open,
  fresh,
  age_ms: ageMs,
}: OpenRow): Pick<OpenDeadLetters, 'open' | 'lastHour' | 'oldestAgeMs'> {
  return {
    open: Math.max(0, Number(open)),
    lastHour: Number(fresh),
    oldestAgeMs: ageMs === null ? null : Math.max(0, Math.round(ageMs)),
  }
}
