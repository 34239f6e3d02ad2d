import type { Queryable } from '../postgres/queryable.ts'

/** What a pause holds back: an application, one topic of it, or one partition of that. */
export interface PauseScope {
  readonly application: string
  /** Null: all topics. */
  readonly topic: string | null
  /** Null: all partitions. */
  readonly partition: number | null
}

/** A pause in force. It lasts over restarts, until it is resumed or has expired. */
export interface Pause extends PauseScope {
  readonly by: string
  readonly reason: string
  readonly at: Date
  /** Null: until it is resumed. */
  readonly expiresAt: Date | null
}

const IN_FORCE = '(z.expires_at is null or z.expires_at > clock_timestamp())'

/** SQL that says whether a pause holds back `position`, the alias of a row with application, topic and partition. */
export function pausedSql(position: string): string {
  return `exists (select from millrace.pause z where z.application = ${position}.application
    and (z.topic is null or z.topic = ${position}.topic)
    and (z.partition is null or z.partition = ${position}.partition) and ${IN_FORCE})`
}

const COLUMNS = `z.application, z.topic, z.partition, z.paused_by as by, z.reason, z.paused_at as at,
  z.expires_at as "expiresAt"`

/** The pauses in force, of one application or of all. */
export async function listPauses(db: Queryable, application?: string): Promise<Pause[]> {
  const { rows } = await db.query<Pause & Record<string, unknown>>(
    `/* millrace:pause-list */ select ${COLUMNS} from millrace.pause z
     where ($1::text is null or z.application = $1) and ${IN_FORCE}
     order by z.application, z.topic nulls first, z.partition nulls first`,
    [application ?? null],
  )
  return rows
}

/** The pause that holds back a partition; of several the one that was meant for the fewest. */
export function pauseOf(
  pauses: readonly Pause[],
  position: { readonly application: string; readonly topic: string; readonly partition: number },
): Pause | undefined {
  return pauses.findLast(
    (pause) =>
      pause.application === position.application &&
      (pause.topic === null || pause.topic === position.topic) &&
      (pause.partition === null || pause.partition === position.partition),
  )
}

/** Pauses, or says anew why and for how long. Those that have expired are cleared away. */
export async function setPause(
  tx: Queryable,
  scope: PauseScope,
  pause: { readonly by: string; readonly reason: string; readonly forMs: number | null },
): Promise<Pause> {
  await tx.query(
    '/* millrace:pause-expired */ delete from millrace.pause where expires_at <= clock_timestamp()',
  )
  const { rows } = await tx.query<Pause & Record<string, unknown>>(
    `/* millrace:pause-set */ insert into millrace.pause as z (application, topic, partition, paused_by, reason, expires_at)
     values ($1, $2, $3, $4, $5, clock_timestamp() + $6::float8 * interval '1 millisecond')
     on conflict (application, topic, partition) do update
       set paused_by = excluded.paused_by, reason = excluded.reason, expires_at = excluded.expires_at,
         paused_at = clock_timestamp()
     returning ${COLUMNS}`,
    [scope.application, scope.topic, scope.partition, pause.by, pause.reason, pause.forMs],
  )
  return rows[0] as Pause
}

/** Takes back the pauses of this scope and of all within it. */
export async function clearPauses(tx: Queryable, scope: PauseScope): Promise<void> {
  await tx.query(
    `/* millrace:pause-clear */ delete from millrace.pause z
     where z.application = $1 and ($2::text is null or z.topic = $2) and ($3::int is null or z.partition = $3)`,
    [scope.application, scope.topic, scope.partition],
  )
}
