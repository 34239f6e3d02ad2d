import { throwIfAborted } from '../core/abort.ts'
import type { Random } from '../core/random.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { FieldReport, type CommonField } from './field-report.ts'
import type { DeadLetterFilter } from './filter.ts'
import { countParked, parkedWords } from './parked.ts'
import { readPayloads } from './payload.ts'

/** Why a dead letter is among the samples. */
export type SampleReason = 'oldest' | 'newest' | 'smallest' | 'largest' | 'random'

/** Which group to take a sample of. */
export interface SampleRequest {
  /** `''`: those that were set aside before there were fingerprints. */
  readonly fingerprint: string
  /** Default `'open'`. */
  readonly state?: NonNullable<DeadLetterFilter['state']>
  readonly random: Random
}

/** What a sample of a group shows. */
export interface SampleOutcome {
  /** Dead letters of the group; no more than the newest 200,000 are counted, and sampled. */
  readonly count: number
  /** How many were looked at, spread evenly: at most 1,000. Of these, how many carry no JSON, or are too large to look into. */
  readonly looked: number
  readonly notJson: number
  readonly tooLarge: number
  readonly picks: readonly {
    readonly id: bigint
    readonly why: readonly SampleReason[]
    /** Of value and args. */
    readonly bytes: number
  }[]
  /** What at least nine of ten have in common. */
  readonly common: readonly CommonField[]
}

/** A group is sampled among its newest so many. */
export const MOST_COUNTED = 200_000
const MOST_LOOKED = 1_000

/**
 * Looks at up to 1,000 dead letters of a group. Oldest is the oldest of the group; smallest, largest and random are of
 * those that were looked at.
 * @throws E_DLQ_NOT_FOUND when the group has none of the state; the signal's reason when it is aborted.
 */
export async function takeSample(
  db: Queryable,
  request: SampleRequest,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<SampleOutcome> {
  const { fingerprint, state = 'open', random } = request
  const { ids, count } = await spreadIds(db, state, fingerprint)
  const oldest = ids.at(-1)
  if (oldest === undefined) {
    const parked = state === 'open' ? await countParked(db, { fingerprint }) : 0
    throw noGroup(fingerprint, state, parked)
  }
  const report = new FieldReport()
  const sizes = new Map<bigint, number>()
  let before = (ids[0] ?? 0n) + 1n
  for (;;) {
    throwIfAborted(signal)
    const page = await readPayloads(db, 'id = any ($1::bigint[]) and id < $2::bigint', [
      ids.map(String),
      before,
    ])
    const last = page.at(-1)
    if (last === undefined) break
    for (const payload of page) {
      report.add(payload)
      sizes.set(payload.id, payload.size)
    }
    before = last.id
  }
  const { records, ...unread } = report.looked
  return { count, looked: records, ...unread, picks: pick(sizes, random), common: report.common() }
}

/** Newest first: numbers spread evenly over the group, the newest and the oldest among them. */
async function spreadIds(
  db: Queryable,
  state: string,
  fingerprint: string,
): Promise<{ readonly ids: bigint[]; readonly count: number }> {
  const { rows } = await db.query<{ id: string; count: number }>(
    `/* millrace:dead-letter-spread */ with newest as materialized (
       select id from millrace.dead_letter where state = $1 and fingerprint = $2
       order by id desc limit ${MOST_COUNTED}
     ), placed as (
       select id, row_number() over (order by id desc) - 1 as place, count(*) over () as count from newest
     )
     select id::text, count::int from placed where place % greatest(1, ceil(count / ${MOST_LOOKED - 2}.0)::int) = 0
     union
     (select id::text, (select count(*)::int from newest) from millrace.dead_letter
       where state = $1 and fingerprint = $2 order by dead_letter.id limit 1)`,
    [state, fingerprint],
  )
  const ids = rows.map(({ id }) => BigInt(id)).sort((a, b) => (a > b ? -1 : 1))
  return { ids, count: rows[0]?.count ?? 0 }
}

function pick(sizes: ReadonlyMap<bigint, number>, random: Random): SampleOutcome['picks'] {
  const ids = [...sizes.keys()].sort((a, b) => (a < b ? -1 : 1))
  const bySize = ids.toSorted((a, b) => (sizes.get(a) ?? 0) - (sizes.get(b) ?? 0))
  const chosen: readonly (readonly [SampleReason, bigint | undefined])[] = [
    ['oldest', ids[0]],
    ['newest', ids.at(-1)],
    ['smallest', bySize[0]],
    ['largest', bySize.at(-1)],
    ['random', ids[Math.floor(random.next() * ids.length)]],
  ]
  const why = new Map<bigint, SampleReason[]>()
  for (const [reason, id] of chosen)
    if (id !== undefined) why.set(id, [...(why.get(id) ?? []), reason])
  return [...why].map(([id, reasons]) => ({ id, why: reasons, bytes: sizes.get(id) ?? 0 }))
}

function noGroup(fingerprint: string, state: string, parked: number): MillraceError {
  const group = fingerprint === '' ? 'none' : fingerprint
  const next =
    parked > 0
      ? `; ${parkedWords(parked)}. See \`millrace dlq sample --group ${group} --state parked\`.`
      : '. See `millrace dlq groups` for those there are.'
  return new MillraceError(
    'E_DLQ_NOT_FOUND',
    `there is no ${state} dead letter in group ${group}${next}`,
    { details: { fingerprint, state } },
  )
}
