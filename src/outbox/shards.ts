import { RELAY_TRANSACTION_MS } from '../log/relay-port.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** How often in its lease a relay renews it, and looks for shards that nobody holds. */
export const LOOKS_PER_LEASE = 5
/**
 * How long a relay that is silent keeps its shards by default, in milliseconds. Whoever takes over looks a fifth of it later
 * at the latest: with a tenth to spare before the log ends the transaction that the silent one may have left open.
 */
export const DEFAULT_LEASE_MS: number = (RELAY_TRANSACTION_MS * 3) / 4

/** Which shards are written to. */
export interface Layout {
  readonly first: number
  readonly count: number
}

/** A shard as its row says. */
export interface Shard {
  readonly shard: number
  /** First shard of the layout that it belongs to; its own number where that is not known. */
  readonly layout: number
  /** The process that relays it; null: nobody, or one that is silent. */
  readonly owner: string | null
  /** Grows with every owner. */
  readonly epoch: number
  /** The last record known to be in the log. */
  readonly relayed: bigint | null
  readonly relayedHash: string
  readonly waiting: string | null
  readonly halted: string | null
  /** Of a halted shard: the log's cursor then; `''`: that there was none. */
  readonly cursor: string | null
  /** Of a halted shard: the record that the log refuses. `null`: it is halted for something else. */
  readonly refused: bigint | null
  /** The cursor that an operator has decided about; `''`: that there is none. */
  readonly accepted: string | null
  /** Behind which record to go on then. `null`: where the relay proposes. */
  readonly acceptedBehind: bigint | null
}

/** A shard held by somebody, of which only that one may write. */
export interface HeldShard {
  readonly shard: number
  readonly epoch: number
}

/** The shards as they are. */
export interface Shards {
  readonly layout: Layout
  /** How many processes relay, and share the shards. */
  readonly relays: number
  /** Those that are not retired, by number. */
  readonly shards: readonly Shard[]
}

interface ShardRow extends Record<string, unknown> {
  readonly shard: number
  readonly layout: number
  readonly owner: string | null
  readonly epoch: string
  readonly relayed: string | null
  readonly relayed_hash: string | null
  readonly waiting: string | null
  readonly halted: string | null
  readonly cursor: string | null
  readonly refused: string | null
  readonly accepted: string | null
  readonly accepted_behind: string | null
}

const COLUMNS = `s.shard::integer, coalesce(s.layout, s.shard)::integer as layout, s.epoch::text, s.relayed::text, encode(s.relayed_hash, 'hex') as relayed_hash,
  s.waiting, s.halted, s.cursor, s.refused::text, s.accepted, s.accepted_behind::text`
/** An owner whose time is up, or whose process is dead, owns nothing. */
const OWNED = `s.owner is not null and s.expires_at > clock_timestamp()
  and exists (select from millrace.process p where p.id = s.owner and p.expires_at > clock_timestamp())`

/** The highest offset that was drawn so far. */
const LAST_OFFSET = "coalesce(pg_sequence_last_value('millrace.outbox_offset'), 0)"

/**
 * Processes that share the shards: those that have shown themselves within a lease, by a heartbeat or by a shard that they
 * hold. One that is silent for longer holds nothing, and its part goes to the others, though the process may count as alive
 * for some time yet.
 */
const RELAYING = `p.relays and p.expires_at > clock_timestamp() and (
  p.heartbeat_at > clock_timestamp() - $1 * interval '1 millisecond'
  or exists (select from millrace.outbox_shard s where s.owner = p.id and not s.retired and s.expires_at > clock_timestamp()))`

/** The shards that are not retired. The layout is read first: a shard read to its end afterwards is at its end for good. */
export async function readShards(
  db: Queryable,
  leaseMs: number = DEFAULT_LEASE_MS,
): Promise<Shards> {
  const { rows: layouts } = await db.query<{ layout: string; relays: number }>(
    `/* millrace:outbox-layout */ select pg_sequence_last_value('millrace.outbox_layout')::text as layout,
       (select count(*)::integer from millrace.process p where ${RELAYING}) as relays`,
    [leaseMs],
  )
  const { layout, relays } = layouts[0] as { layout: string; relays: number }
  const first = Math.floor(Number(layout) / 64)
  const count = Number(layout) % 64
  const { rows } = await db.query<ShardRow>(
    `/* millrace:outbox-shards */ select ${COLUMNS}, case when ${OWNED} then s.owner end as owner
     from millrace.outbox_shard s where not s.retired and s.shard < $1 order by s.shard`,
    [first + count],
  )
  return { layout: { first, count }, relays, shards: rows.map(toShard) }
}

/**
 * Changes how many shards are written to: new ones take the place of those there are, which are relayed to their end first.
 * Does nothing when there are as many already.
 */
export async function setShardCount(db: Queryable, count: number): Promise<void> {
  for (;;) {
    const { rows } = await db.query<{ layout: string }>(
      `/* millrace:outbox-layout-now */ select pg_sequence_last_value('millrace.outbox_layout')::text as layout`,
    )
    const layout = Number(rows[0]?.layout)
    if (layout % 64 === count) return
    const first = Math.floor(layout / 64) + (layout % 64)
    // The rows first, for the layout is seen at once, by everybody.
    await db.query(
      `/* millrace:outbox-shards-make */ select millrace.outbox_make_shards($1::bigint, $2)`,
      [layout, count],
    )
    await db.query(
      `/* millrace:outbox-layout-set */ select millrace.outbox_set_layout($1::bigint, $2::bigint)`,
      [layout, first * 64 + count],
    )
  }
}

/** Takes those of `shards` that nobody holds, for `leaseMs`. */
export async function takeShards(
  db: Queryable,
  owner: string,
  shards: readonly number[],
  leaseMs: number,
): Promise<Shard[]> {
  const { rows } = await db.query<ShardRow>(
    `/* millrace:outbox-take */ update millrace.outbox_shard s
     set owner = $1, epoch = s.epoch + 1, expires_at = clock_timestamp() + $3 * interval '1 millisecond', waiting = null
     where s.shard = any ($2::smallint[]) and not s.retired and not (${OWNED})
     returning ${COLUMNS}, s.owner`,
    [owner, shards, leaseMs],
  )
  return rows.map(toShard)
}

/** Holds on to shards for another `leaseMs`. Gives those that are still held. */
export async function renewShards(
  db: Queryable,
  owner: string,
  held: readonly HeldShard[],
  leaseMs: number,
): Promise<number[]> {
  const { rows } = await db.query<{ shard: number }>(
    `/* millrace:outbox-renew */ update millrace.outbox_shard s
     set expires_at = clock_timestamp() + $4 * interval '1 millisecond'
     from unnest($2::smallint[], $3::bigint[]) h(shard, epoch)
     where s.shard = h.shard and s.epoch = h.epoch and s.owner = $1 and s.expires_at > clock_timestamp()
     returning s.shard::integer`,
    [owner, held.map(({ shard }) => shard), held.map(({ epoch }) => epoch), leaseMs],
  )
  return rows.map(({ shard }) => shard)
}

/** Gives a shard back, if it is still held. */
export async function releaseShard(db: Queryable, { shard, epoch }: HeldShard): Promise<void> {
  await db.query(
    `/* millrace:outbox-release */ update millrace.outbox_shard set owner = null, waiting = null
     where shard = $1::smallint and epoch = $2`,
    [shard, epoch],
  )
}

/** The shard as it is, if it is still held. */
export async function readHeldShard(
  db: Queryable,
  { shard, epoch }: HeldShard,
): Promise<Shard | undefined> {
  const { rows } = await db.query<ShardRow>(
    `/* millrace:outbox-shard */ select ${COLUMNS}, s.owner from millrace.outbox_shard s
     where s.shard = $1::smallint and s.epoch = $2`,
    [shard, epoch],
  )
  return rows[0] === undefined ? undefined : toShard(rows[0])
}

/**
 * Notes that records up to `offset` are in the log, `count` more than were noted before, if the shard is still held. Gives
 * `false`, and notes nothing, when the database has not drawn that number: then it is not the one that gave it.
 */
export async function noteRelayed(
  db: Queryable,
  { shard, epoch }: HeldShard,
  progress: { readonly offset: bigint; readonly hash: string; readonly count: number },
): Promise<boolean> {
  const { rows } = await db.query<{ reached: boolean }>(
    `/* millrace:outbox-note */ with noted as (
       update millrace.outbox_shard set relayed = $3::bigint, relayed_hash = decode($4, 'hex'),
         waiting = null, halted = null, cursor = null, refused = null, accepted = null, accepted_behind = null
       where shard = $1::smallint and epoch = $2 and $3::bigint <= ${LAST_OFFSET} returning 1
     ), counted as (
       insert into millrace.count_delta (metric, label, delta)
       select 'outbox.waiting', '', -$5::bigint from noted where $5::bigint <> 0
     ) select $3::bigint <= ${LAST_OFFSET} as reached`,
    [shard, epoch, String(progress.offset), progress.hash, progress.count],
  )
  return rows[0]?.reached ?? false
}

/** How many records there are behind `from`, up to and with `to`. */
export async function countRecords(
  db: Queryable,
  shard: number,
  from: bigint,
  to: bigint,
): Promise<number> {
  const { rows } = await db.query<{ n: number }>(
    `/* millrace:outbox-count */ select count(*)::integer as n from millrace.outbox_record
     where shard = $1::smallint and "offset" > $2::bigint and "offset" <= $3::bigint`,
    [shard, String(from), String(to)],
  )
  return rows[0]?.n ?? 0
}

/** Says what a shard waits for. */
export async function setWaiting(
  db: Queryable,
  { shard, epoch }: HeldShard,
  waiting: string | null,
): Promise<void> {
  await db.query(
    `/* millrace:outbox-waiting */ update millrace.outbox_shard set waiting = $3
     where shard = $1::smallint and epoch = $2 and waiting is distinct from $3`,
    [shard, epoch, waiting],
  )
}

/** Why a shard is halted. */
export interface Halt {
  readonly reason: string
  /** The log's cursor. */
  readonly cursor: string
  /** The record that the log refuses. `null`: it is something else. */
  readonly refused: bigint | null
}

/** Stops a shard until somebody decides how it goes on from the cursor. */
export async function haltShard(
  db: Queryable,
  { shard, epoch }: HeldShard,
  { reason, cursor, refused }: Halt,
): Promise<void> {
  await db.query(
    `/* millrace:outbox-halt */ update millrace.outbox_shard
     set halted = $3, cursor = $4, refused = $5::bigint, accepted = null, accepted_behind = null, waiting = null
     where shard = $1::smallint and epoch = $2`,
    [shard, epoch, reason, cursor, refused?.toString() ?? null],
  )
}

/** Says that a shard that is not written to any more has nothing left. */
export async function retireShard(db: Queryable, { shard, epoch }: HeldShard): Promise<void> {
  await db.query(
    `/* millrace:outbox-retire */ update millrace.outbox_shard set retired = true, owner = null, waiting = null
     where shard = $1::smallint and epoch = $2`,
    [shard, epoch],
  )
}

/**
 * Of shards, those that have a record behind the offset beside them, or an offset that was not drawn yet: then the database is
 * not the one that gave it.
 */
export async function shardsWithRecords(
  db: Queryable,
  shards: readonly { readonly shard: number; readonly behind: bigint }[],
): Promise<number[]> {
  const { rows } = await db.query<{ shard: number }>(
    `/* millrace:outbox-poll */ select u.shard::integer from unnest($1::smallint[], $2::bigint[]) u(shard, behind)
     where u.behind > ${LAST_OFFSET}
       or exists (select from millrace.outbox_record r where r.shard = u.shard and r."offset" > u.behind)`,
    [shards.map(({ shard }) => shard), shards.map(({ behind }) => String(behind))],
  )
  return rows.map(({ shard }) => shard)
}

function toShard(row: ShardRow): Shard {
  return {
    shard: row.shard,
    layout: row.layout,
    owner: row.owner,
    epoch: Number(row.epoch),
    relayed: row.relayed === null ? null : BigInt(row.relayed),
    relayedHash: row.relayed_hash ?? '',
    waiting: row.waiting,
    halted: row.halted,
    cursor: row.cursor,
    refused: row.refused === null ? null : BigInt(row.refused),
    accepted: row.accepted,
    acceptedBehind: row.accepted_behind === null ? null : BigInt(row.accepted_behind),
  }
}
