import type { OrderedBy } from '../control/operator-action.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { FloodEvidence } from './gaps.ts'
import type { PositionKey } from './positions.ts'
import type { ConsumerScope } from './scope.ts'

/** A partition that the flood brake has stopped, and nobody has decided about. */
export interface FloodStop {
  readonly gap: bigint
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** The next record to read. */
  readonly position: bigint
  /** In words for people. */
  readonly found: string
  readonly foundAt: Date
  readonly flood: FloodEvidence
}

/** Failures that become dead letters, however many there are. */
export interface AcceptedFailure {
  readonly application: string
  readonly fingerprint: string
  readonly by: string
  readonly reason: string
  readonly at: Date
  readonly expiresAt: Date
}

const ACCEPTED = `a.application, a.fingerprint, a.accepted_by as by, a.reason, a.accepted_at as at,
  a.expires_at as "expiresAt"`

/** The stops of a scope, by topic and partition; with `lock`, their positions are held until the transaction ends. */
export async function listFloodStops(
  db: Queryable,
  { application, topic, partition }: ConsumerScope,
  options: { readonly lock?: boolean } = {},
): Promise<FloodStop[]> {
  const { rows } = await db.query<{
    id: string
    topic: string
    topic_id: string
    partition: number
    next_offset: string
    found: string
    found_at: Date
    flood: FloodEvidence
  }>(
    `/* millrace:flood-stops */ select g.id::text, p.topic, p.topic_id, p.partition, p.next_offset::text, g.found,
       g.found_at, g.evidence -> 'flood' as flood
     from millrace.position p
     join millrace.gap g on g.application = p.application and g.topic_id = p.topic_id and g.partition = p.partition
     where p.application = $1 and ($2::text is null or p.topic = $2) and ($3::int is null or p.partition = $3)
       and p.halted is not null and g.decision is null and g.code = 'flood'
     order by p.topic, p.topic_id, p.partition ${options.lock === true ? 'for update of p' : ''}`,
    [application, topic ?? null, partition ?? null],
  )
  return rows.map((row) => ({
    gap: BigInt(row.id),
    topic: row.topic,
    topicId: row.topic_id,
    partition: row.partition,
    position: BigInt(row.next_offset),
    found: row.found,
    foundAt: row.found_at,
    flood: row.flood,
  }))
}

/**
 * Sets stopped partitions going where they stand. No generation begins: what was not committed is read for the first
 * time. They have no owner, and whoever had them before is kept out by the epoch that the next one gets.
 */
export async function releaseFloodStops(
  tx: Queryable,
  stops: readonly FloodStop[],
  { user, reason, decision }: OrderedBy & { readonly decision: 'try-again' | 'accept-failures' },
): Promise<void> {
  await tx.query(
    `/* millrace:flood-release */ with decided as (
       update millrace.gap set decision = $2, decided_by = $3, decided_at = clock_timestamp(), reason = $4
       where id = any ($1) and decision is null
       returning application, topic_id, partition
     )
     update millrace.position p set halted = null, waiting = null, updated_at = clock_timestamp()
     from decided d
     where p.application = d.application and p.topic_id = d.topic_id and p.partition = d.partition`,
    [stops.map(({ gap }) => gap), decision, user, reason ?? null],
  )
}

/** Says that failures are really bad, or says it anew: again for so long. Those that have expired are cleared away. */
export async function acceptFailures(
  tx: Queryable,
  application: string,
  fingerprints: readonly string[],
  { by, reason, forMs }: { readonly by: string; readonly reason: string; readonly forMs: number },
): Promise<AcceptedFailure[]> {
  await tx.query(
    '/* millrace:accepted-expired */ delete from millrace.accepted_failure where expires_at <= clock_timestamp()',
  )
  const { rows } = await tx.query<AcceptedFailure & Record<string, unknown>>(
    `/* millrace:accepted-set */ insert into millrace.accepted_failure as a
       (application, fingerprint, accepted_by, reason, expires_at)
     select $1, f, $3, $4, clock_timestamp() + $5::float8 * interval '1 millisecond'
     from unnest($2::text[]) f order by f
     on conflict (application, fingerprint) do update
       set accepted_by = excluded.accepted_by, reason = excluded.reason, accepted_at = clock_timestamp(),
         expires_at = excluded.expires_at
     returning ${ACCEPTED}`,
    [application, [...new Set(fingerprints)], by, reason, forMs],
  )
  return rows
}

/** The failures of an application that are accepted now. */
export async function listAcceptedFailures(
  db: Queryable,
  application: string,
): Promise<AcceptedFailure[]> {
  const { rows } = await db.query<AcceptedFailure & Record<string, unknown>>(
    `/* millrace:accepted-list */ select ${ACCEPTED} from millrace.accepted_failure a
     where a.application = $1 and a.expires_at > clock_timestamp() order by a.accepted_at, a.fingerprint`,
    [application],
  )
  return rows
}

/**
 * Up to which offset the records are those for which the partition was stopped, if somebody has set it going again to see
 * whether they still fail. Undefined: it was not, or the log was read anew since.
 */
export async function triedAgainUpTo(
  db: Queryable,
  position: PositionKey & { readonly generation: number },
): Promise<bigint | undefined> {
  const { rows } = await db.query<{ to: string | null }>(
    `/* millrace:flood-tried-again */ select to_offset::text as "to" from (
       select * from millrace.gap
       where application = $1 and topic_id = $2 and partition = $3 and code = 'flood' order by id desc limit 1) g
     where g.decision = 'try-again' and g.generation = $4`,
    [position.application, position.topicId, position.partition, position.generation],
  )
  const to = rows[0]?.to
  return to == null ? undefined : BigInt(to)
}
