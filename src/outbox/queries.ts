import { noteAction, type OrderedBy } from '../control/operator-action.ts'
import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { rolledBack } from '../postgres/rolled-back.ts'
import { transaction, type Transaction } from '../postgres/transaction.ts'
import { wakeRelays } from './wake.ts'

/** One shard of the outbox, as it is. */
export interface OutboxShard {
  readonly shard: number
  /**
   * `relaying`: a process moves its records into the log. `waiting`: it cannot just now. `halted`: it does not, until
   * somebody has decided. `unowned`: no process relays it.
   */
  readonly state: 'relaying' | 'waiting' | 'halted' | 'unowned'
  /** Why it waits or is halted. */
  readonly reason: string | null
  /** Name of the process that relays it. */
  readonly owner: string | null
  /** The last record known to be in the log. Null: none yet. */
  readonly relayed: bigint | null
  /** Records behind that one. */
  readonly waiting: number
  /** When the oldest of them was appended. */
  readonly oldestAt: Date | null
  /** The last of them. */
  readonly last: bigint | null
  /** Of a halted shard: how far the log says it is, as JSON; `''`: the log says nothing. */
  readonly cursor: string | null
  /**
   * Of a halted shard: the last of the waiting records that was sent before, as far as its time tells: appended before the
   * last record that the log knows of. Null: none.
   */
  readonly sent: bigint | null
  /** Whether an operator has decided, and the relay has not gone on yet. */
  readonly accepted: boolean
}

interface ShardRow extends Record<string, unknown> {
  readonly shard: number
  readonly reason: string | null
  readonly halted: boolean
  readonly owner: string | null
  readonly relayed: string | null
  readonly waiting: number
  readonly oldest_at: Date | null
  readonly last: string | null
  readonly cursor: string | null
  readonly sent: string | null
  readonly accepted: boolean
}

/** The shards of the outbox that are in use. Counts what waits, so it takes its time when that is much. */
export async function listOutbox(db: Queryable): Promise<OutboxShard[]> {
  const { rows } = await db.query<ShardRow>(
    `/* millrace:outbox-list */ select s.shard::integer, coalesce(s.halted, s.waiting) as reason,
       s.halted is not null as halted, p.name as owner, s.relayed::text, w.n as waiting, w.oldest_at, w.last::text, s.cursor,
       case when s.halted is not null and s.cursor <> '' then (
         select max(r."offset")::text from millrace.outbox_record r
         where r.shard = s.shard and r."offset" > coalesce(s.relayed, 0)
           and r."offset" <= (s.cursor::json->>'offset')::bigint
           and date_trunc('milliseconds', r.appended_at) <= (s.cursor::json->>'appendedAt')::timestamptz
       ) end as sent, s.accepted is not null as accepted
     from millrace.outbox_shard s
     left join millrace.process p on p.id = s.owner and p.expires_at > clock_timestamp()
       and s.expires_at > clock_timestamp()
     cross join lateral (
       select count(*)::integer as n, min(r.appended_at) as oldest_at, max(r."offset") as last from millrace.outbox_record r
       where r.shard = s.shard and r."offset" > coalesce(s.relayed, 0)
     ) w
     where not s.retired and s.shard < pg_sequence_last_value('millrace.outbox_layout') / 64
       + pg_sequence_last_value('millrace.outbox_layout') % 64
     order by s.shard`,
  )
  return rows.map((row) => ({
    shard: row.shard,
    state: row.halted
      ? 'halted'
      : row.owner === null
        ? 'unowned'
        : row.reason === null
          ? 'relaying'
          : 'waiting',
    reason: row.reason,
    owner: row.owner,
    relayed: row.relayed === null ? null : BigInt(row.relayed),
    waiting: row.waiting,
    oldestAt: row.oldest_at,
    last: row.last === null ? null : BigInt(row.last),
    cursor: row.cursor,
    sent: row.sent === null ? null : BigInt(row.sent),
    accepted: row.accepted,
  }))
}

/** What is left in the outbox. */
export interface OutboxSummary {
  /** How long the oldest record has waited, in milliseconds. Null: none waits. */
  readonly ageMs: number | null
  /** Shards that are halted. */
  readonly halted: number
  /** Shards that wait for something, with the reason. */
  readonly waiting: readonly string[]
}

/** What is left in the outbox, without counting: a look at the first record of each shard. */
export async function summarizeOutbox(db: Queryable): Promise<OutboxSummary> {
  const { rows } = await db.query<{ age_ms: number | null; halted: number; waiting: string[] }>(
    `/* millrace:outbox-summary */ select
       (extract(epoch from clock_timestamp() - min(f.appended_at)) * 1000)::float8 as age_ms,
       (count(*) filter (where s.halted is not null))::integer as halted,
       coalesce(array_agg(s.waiting order by s.shard) filter (where s.waiting is not null), '{}') as waiting
     from millrace.outbox_shard s left join lateral (
       select r.appended_at from millrace.outbox_record r
       where r.shard = s.shard and r."offset" > coalesce(s.relayed, 0) order by r."offset" limit 1
     ) f on true where not s.retired`,
  )
  const { age_ms: ageMs, halted, waiting } = rows[0] as (typeof rows)[0]
  return { ageMs: ageMs === null ? null : Math.max(0, Math.round(ageMs)), halted, waiting }
}

/** A shard that may go on. */
export interface AcceptedShard {
  readonly shard: number
  /**
   * The last record that is not sent. Null: what the relay proposes, which is the last one known to be in the log; or, when
   * the database was moved as it is, the one that the log's cursor names.
   */
  readonly behind: bigint | null
}

/** A shard that goes on, with what that costs. */
export interface GoingOn extends AcceptedShard {
  /** Records that are not known to be in the log, and are not sent: after a restore, those that were sent before. */
  readonly leftOut: number
  /** Why it was halted. */
  readonly stopped: string
}

/** Who orders it, and with what. */
export interface AcceptParts extends OrderedBy {
  readonly core: Core
  readonly pool: Pool
  /** Whether it is only tried, and taken back. Default `false`. */
  readonly dryRun?: boolean
}

/**
 * Orders halted shards to go on with the records that the database has now: all of them, or none. Their relays do so at
 * once, unless the log's cursor has moved since. Nothing can be left out that is not there yet, or not decided.
 * @throws E_OUTBOX_STATE when one of them is not halted, or cannot go on behind that record.
 */
export async function acceptOutbox(
  { core, pool, user, reason, dryRun = false }: AcceptParts,
  shards: readonly AcceptedShard[],
): Promise<GoingOn[]> {
  const accept = async (tx: Transaction): Promise<GoingOn[]> => {
    await refuseWrongPlaces(tx, shards)
    const { rows } = await tx.query<{ shard: number; left_out: number; stopped: string }>(
      `/* millrace:outbox-accept */ update millrace.outbox_shard s set accepted = s.cursor, accepted_behind = a.behind
       from unnest($1::integer[], $2::bigint[]) a(shard, behind)
       where s.shard = a.shard and s.halted is not null and not s.retired
       returning s.shard::integer, (
         select count(*)::integer from millrace.outbox_record r
         where r.shard = s.shard and r."offset" > coalesce(s.relayed, 0) and r."offset" <= a.behind
       ) as left_out, s.halted as stopped`,
      [shards.map(({ shard }) => shard), shards.map(({ behind }) => behind?.toString() ?? null)],
    )
    const goingOn = shards.flatMap((one): GoingOn[] => {
      const row = rows.find(({ shard }) => shard === one.shard)
      return row === undefined ? [] : [{ ...one, leftOut: row.left_out, stopped: row.stopped }]
    })
    const changed = new Set(goingOn.map(({ shard }) => shard))
    const refused = shards.filter(({ shard }) => !changed.has(shard)).map(({ shard }) => shard)
    if (refused.length > 0) {
      const text = `not halted, so there is nothing to accept: ${refused.join(', ')}`
      throw new MillraceError('E_OUTBOX_STATE', text, { details: { shards: refused } })
    }
    const action = 'outbox.accept'
    const detail = goingOn
    await noteAction(tx, { user, reason, action, filter: shards, count: shards.length, detail })
    tx.afterCommit(() => wakeRelays(pool, []))
    return goingOn
  }
  return dryRun ? rolledBack(pool, core, accept, {}) : transaction(pool, core, accept)
}

/** Looked at before anything else: what is decided then stays so. */
async function refuseWrongPlaces(tx: Transaction, shards: readonly AcceptedShard[]): Promise<void> {
  const { rows } = await tx.query<{
    shard: number
    horizon: string
    next: string
    refused: string | null
  }>(
    `/* millrace:outbox-horizons */ select h.shard::integer, h.horizon::text, h.next_offset::text as next, s.refused::text
     from millrace.outbox_horizon($1::smallint[]) h
     join millrace.outbox_shard s on s.shard = h.shard and s.halted is not null`,
    [shards.map(({ shard }) => shard)],
  )
  for (const { shard, behind } of shards) {
    const found = rows.find((row) => row.shard === shard)
    if (behind === null || found === undefined) continue
    const why = whyNotBehind(behind, found)
    if (why === undefined) continue
    const text = `shard ${shard} cannot go on behind ${behind}${why}`
    throw new MillraceError('E_OUTBOX_STATE', text, { details: { ...found, behind: `${behind}` } })
  }
}

function whyNotBehind(
  behind: bigint,
  found: { readonly horizon: string; readonly next: string; readonly refused: string | null },
): string | undefined {
  const { horizon, next, refused } = found
  if (behind >= BigInt(next)) {
    return `: the next record that is published gets offset ${next}, and all up to ${behind} would never be sent. Name a record that is there`
  }
  if (behind >= BigInt(horizon)) {
    return ` yet: a transaction that is open may still write records from ${horizon} on. Wait until it has ended, or end it`
  }
  if (refused !== null && behind < BigInt(refused)) {
    return `: what comes before record ${refused}, which the log refuses, is sent already. Name that one to leave it out, or none to try it again`
  }
  return undefined
}
