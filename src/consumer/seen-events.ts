import { hash } from 'node:crypto'
import { plainArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { untilAnswered, type BatchScope } from './batch-environment.ts'
import { skip } from './handler.ts'
import type { Item, OnceRule, Step } from './step.ts'

/** The reason under which duplicates are counted as filtered. */
export const DUPLICATE = 'duplicate'

const NONE: ReadonlySet<Step> = new Set()
/** What the server says of a statement that took too long. */
const TIMED_OUT = '57014'

/**
 * Marks the steps whose event is known to have been handled at another place, before `prepare` is asked about them: it need
 * not bear to be asked about what is done already. One statement for a batch, none where no handler asks for it. Copies
 * in this same batch, or in one under way elsewhere, are found by {@link claimEvents}.
 * @throws the signal's reason when it is aborted while the database does not answer.
 */
export async function skipSeen(scope: BatchScope, items: readonly Item[]): Promise<void> {
  const steps = stepsWithOnce(scope, items)
  if (steps.length === 0) return
  const { pool } = scope.env
  const seen = await untilAnswered(scope, () =>
    pool.query<{ n: number }>(
      `/* millrace:seen-look */ select k.n::int - 1 as n
       from unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[]) with ordinality k(key, topic_id, partition, at, n)
       join millrace.seen_event s on s.key = k.key
       where s.expires_at > statement_timestamp()
         and (s.topic_id, s.partition, s."offset") is distinct from (k.topic_id, k.partition, k.at)`,
      placesOf(scope, steps),
    ),
  )
  for (const { n } of seen.rows) (steps[n] as Step).skipped = skip(DUPLICATE)
}

/**
 * Writes down, in the transaction that handles them, that handlers with `once` have these events; gives the steps whose
 * event they have had at another place, or have earlier in `items`. One statement, and none where no handler asks for it.
 *
 * Two partitions may hold the same event. The second transaction then waits for the first one to end: is it committed, the
 * second finds a duplicate; is it rolled back, the event is the second one's. It waits before its handlers have locked
 * anything, and keys are taken in one order, so no two wait for each other. How long it may wait is limited by the time of
 * one statement; then it is an error as of a lock that cannot be had, and tried again, at nobody's cost.
 *
 * What has failed already is written down too: its dead letter is what became of the event. What was skipped is not.
 */
export async function claimEvents(
  scope: BatchScope,
  tx: Queryable,
  items: readonly Item[],
): Promise<ReadonlySet<Step>> {
  const steps = stepsWithOnce(scope, items)
  if (steps.length === 0) return NONE
  if (scope.rereading === 'dead-letters') {
    await rememberEvents(scope, tx, steps)
    return NONE
  }
  const byKey = Map.groupBy(steps, (step) => keyOf(scope, step))
  const { first, values } = firstOf(scope, byKey)
  const { rows } = await tx
    .query<{ n: number; at: string | null }>(CLAIM_SQL, values)
    .catch((error: unknown) => {
      throw (error as { code?: unknown }).code === TIMED_OUT ? heldByOthers(error) : error
    })
  // Mostly there are none of either.
  if (rows.length === 0 && first.length === steps.length) return NONE
  const others = new Map(rows.map(({ n, at }) => [n, at === null ? null : BigInt(at)]))
  const duplicates = new Set<Step>()
  for (const [n, copies] of [...byKey.values()].entries()) {
    const found = others.get(n)
    const standing = found === undefined ? offsetOf(first[n] as Step) : found
    for (const step of copies) if (offsetOf(step) !== standing) duplicates.add(step)
  }
  return duplicates
}

/**
 * Of an event that is known, the row stays as it is: what is at another place is a duplicate. But all records here are of
 * one partition, so where the row is of that partition too, it is one of these records, or one before or behind them: its
 * offset is given back. Only what is not as it was asked for is given back at all: a null offset stands in another partition.
 * The same place again is remembered anew, for what was copied behind it is about to come again too.
 */
const CLAIM_SQL = `/* millrace:seen-claim */ with k as (
    select key, topic_id, partition, at, statement_timestamp() + ms * interval '1 ms' as expires_at, n::int - 1 as n
    from unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::float8[])
      with ordinality u(key, topic_id, partition, at, ms, n)
  ), claimed as (
    insert into millrace.seen_event as s (key, topic_id, partition, "offset", expires_at)
    select key, topic_id, partition, at, expires_at from k order by key
    on conflict (key) do update
      set topic_id = excluded.topic_id, partition = excluded.partition,
        "offset" = case when s.expires_at <= statement_timestamp() then excluded."offset" else s."offset" end,
        expires_at = case when s.expires_at <= statement_timestamp() or s."offset" = excluded."offset"
          then excluded.expires_at else s.expires_at end
      where s.expires_at <= statement_timestamp()
        or (s.topic_id = excluded.topic_id and s.partition = excluded.partition)
    returning key, "offset"
  )
  select k.n, c."offset"::text as at from k left join claimed c on c.key = k.key where c."offset" is distinct from k.at`

/** Writes down events that are handled whatever is known of them, so that copies that come later are found. */
async function rememberEvents(
  scope: BatchScope,
  tx: Queryable,
  steps: readonly Step[],
): Promise<void> {
  // What another program had set aside may have no place; and of two dead letters of one event the first is enough.
  const placed = steps.filter(({ context }) => context.record.topicId !== '')
  if (placed.length === 0) return
  const byKey = Map.groupBy(placed, (step) => keyOf(scope, step))
  await tx.query(
    `/* millrace:seen-remember */ insert into millrace.seen_event as s (key, topic_id, partition, "offset", expires_at)
     select key, topic_id, partition, at, statement_timestamp() + ms * interval '1 ms'
     from unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::float8[]) k(key, topic_id, partition, at, ms)
     order by key
     on conflict (key) do update
       set topic_id = excluded.topic_id, partition = excluded.partition, "offset" = excluded."offset",
         expires_at = excluded.expires_at
       where s.expires_at <= statement_timestamp()`,
    firstOf(scope, byKey).values,
  )
}

/** The first step of each event, and what a statement is to know of them. */
function firstOf(
  scope: BatchScope,
  byKey: ReadonlyMap<string, readonly Step[]>,
): { readonly first: readonly Step[]; readonly values: unknown[] } {
  const first = Array.from(byKey.values(), ([step]) => step as Step)
  return { first, values: [...placesOf(scope, first), plainArray(first.map(rememberMs))] }
}

/** As the server says it of a lock that cannot be had: nobody's fault, and to be tried again. */
function heldByOthers(cause: unknown): Error {
  const message =
    'another partition has the same events in a transaction that takes long; they are asked for again'
  return Object.assign(new Error(message, { cause }), { code: '55P03' })
}

function stepsWithOnce({ env }: BatchScope, items: readonly Item[]): Step[] {
  if (!env.remembers) return []
  return items.flatMap(({ steps }) =>
    steps.filter(({ handler, skipped }) => handler.once !== undefined && skipped === undefined),
  )
}

/** Keys and places of steps, as arrays for a statement. */
function placesOf(scope: BatchScope, steps: readonly Step[]): unknown[] {
  return [
    plainArray(steps.map((step) => keyOf(scope, step))),
    plainArray(steps.map(({ context }) => context.record.topicId)),
    plainArray(steps.map(({ context }) => context.record.partition)),
    plainArray(steps.map(offsetOf)),
  ]
}

/**
 * The key of an event for a handler, a UUID. Source and id together tell events apart, as CloudEvents has it. No part of
 * it can have a control character in it, so no two are read as one.
 */
function keyOf({ rereading }: BatchScope, step: Step): string {
  if (step.seenKey !== undefined) return step.seenKey
  const { identity } = step.handler.once as OnceRule
  const { source, id } = step.event
  const reading = typeof rereading === 'object' ? String(rereading.replay) : ''
  const text = `${identity}\n${reading}\n${source}\n${id}`
  // Half of the hash: nobody meets another event's by chance.
  step.seenKey = hash('sha256', text, 'hex').slice(0, 32)
  return step.seenKey
}

function offsetOf({ context }: Step): bigint {
  return context.record.offset
}

function rememberMs({ handler }: Step): number {
  return (handler.once as OnceRule).rememberMs
}
