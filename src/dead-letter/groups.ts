import { throwIfAborted } from '../core/abort.ts'
import type { ErrorDescription } from '../errors/describe.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { DeadLetterFilter } from './filter.ts'
import type { DeadLetterStage } from './stage.ts'
import { storedError } from './stored-error.ts'

/** Which groups to list. All given conditions hold at once. */
export interface GroupFilter
  extends Pick<
    DeadLetterFilter,
    'application' | 'handler' | 'stage' | 'topic' | 'since' | 'until'
  > {
  /** Default `'open'`. */
  readonly state?: NonNullable<DeadLetterFilter['state']>
  /** `count`: the largest first; `newest`: the one that one failed of last. Default `'count'`. */
  readonly sort?: 'count' | 'newest'
  /** At most this many. Default 50. Bounds 1 … 1,000. */
  readonly limit?: number
}

/** Dead letters with one fingerprint. */
export interface DeadLetterGroup {
  /** Null: those that were set aside before there were fingerprints. */
  readonly fingerprint: string | null
  /** How many of the state asked for. */
  readonly count: number
  /** How many of them failed within the last hour, in a replay or when they were set aside. */
  readonly lastHour: number
  /** How many keys they have; no more than 10,000 are counted. */
  readonly keys: number
  /** Up to 20 of each. */
  readonly applications: readonly string[]
  readonly handlers: readonly string[]
  readonly stages: readonly DeadLetterStage[]
  readonly codeVersions: readonly string[]
  /** When the first was set aside. */
  readonly firstSeen: Date
  /** When one failed last, in a replay or when it was set aside. */
  readonly lastSeen: Date
  /** The newest. */
  readonly exampleId: bigint
  readonly error: ErrorDescription
}

/** The groups asked for, and how many there are. */
export interface DeadLetterGroups {
  readonly items: readonly DeadLetterGroup[]
  /** All groups that fit, and the dead letters in them. */
  readonly groups: number
  readonly letters: number
}

/** No more keys of a group are told apart. */
export const MOST_KEYS = 10_000
const PAGE = 5_000
const NAMES = 20

interface PageRow extends Record<string, unknown> {
  readonly fingerprint: string
  readonly walked: number
  readonly last_id: string
  readonly count: number
  readonly last_hour: number
  readonly first_seen: Date
  readonly last_seen: Date
  readonly newest: string
  readonly applications: (string | null)[]
  readonly handlers: string[]
  readonly stages: DeadLetterStage[]
  readonly code_versions: string[] | null
  readonly keys: string[] | null
}

interface Growing {
  readonly fingerprint: string
  count: number
  lastHour: number
  firstSeen: Date
  lastSeen: Date
  newest: bigint
  keyCount: number
  readonly applications: Set<string>
  readonly handlers: Set<string>
  readonly stages: Set<DeadLetterStage>
  readonly codeVersions: Set<string>
  readonly keys: Set<string>
}

/**
 * Dead letters by fingerprint. Walks those of the state in pages of 5,000, in the order of the groups, so that neither a
 * statement nor the memory grows with their number; keys are compared by their first 1,000 bytes.
 * @throws the signal's reason when it is aborted between two pages.
 */
export async function listDeadLetterGroups(
  db: Queryable,
  filter: GroupFilter = {},
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<DeadLetterGroups> {
  const limit = Math.min(1_000, Math.max(1, filter.limit ?? 50))
  const order = filter.sort === 'newest' ? byNewest : byCount
  let best: Growing[] = []
  let groups = 0
  let letters = 0
  let current: Growing | undefined
  const finish = (): void => {
    if (current === undefined || current.count === 0) return
    groups += 1
    letters += current.count
    current.keyCount = current.keys.size
    current.keys.clear()
    best.push(current)
    // Twice as many as wanted are kept at most.
    if (best.length >= 2 * limit) best = best.sort(order).slice(0, limit)
  }
  let after: readonly [fingerprint: string, id: string] = ['', '0']
  for (;;) {
    throwIfAborted(signal)
    const rows = await readPage(db, filter, after)
    for (const row of rows) {
      if (current?.fingerprint !== row.fingerprint) {
        finish()
        current = begin(row.fingerprint)
      }
      if (row.count > 0) grow(current, row)
    }
    const last = rows.at(-1)
    if (last === undefined || rows.reduce((sum, { walked }) => sum + walked, 0) < PAGE) break
    after = [last.fingerprint, last.last_id]
  }
  finish()
  const chosen = best.sort(order).slice(0, limit)
  const errors = await errorsOf(
    db,
    chosen.map(({ newest }) => newest),
  )
  return {
    groups,
    letters,
    items: chosen.map((group) => ({
      fingerprint: group.fingerprint === '' ? null : group.fingerprint,
      count: group.count,
      lastHour: group.lastHour,
      keys: group.keyCount,
      applications: [...group.applications].sort(),
      handlers: [...group.handlers].sort(),
      stages: [...group.stages].sort(),
      codeVersions: [...group.codeVersions].sort(),
      firstSeen: group.firstSeen,
      lastSeen: group.lastSeen,
      exampleId: group.newest,
      error: errors.get(group.newest) ?? storedError(null),
    })),
  }
}

function byCount(a: Growing, b: Growing): number {
  return b.count - a.count || byNewest(a, b)
}

function byNewest(a: Growing, b: Growing): number {
  return b.lastSeen.getTime() - a.lastSeen.getTime() || (a.newest > b.newest ? -1 : 1)
}

function begin(fingerprint: string): Growing {
  return {
    fingerprint,
    count: 0,
    lastHour: 0,
    firstSeen: new Date(8.64e15),
    lastSeen: new Date(0),
    newest: 0n,
    keyCount: 0,
    applications: new Set(),
    handlers: new Set(),
    stages: new Set(),
    codeVersions: new Set(),
    keys: new Set(),
  }
}

function grow(group: Growing, row: PageRow): void {
  group.lastHour += row.last_hour
  if (row.first_seen < group.firstSeen) group.firstSeen = row.first_seen
  if (row.last_seen > group.lastSeen) group.lastSeen = row.last_seen
  group.count += row.count
  const newest = BigInt(row.newest)
  if (newest > group.newest) group.newest = newest
  const add = <T>(set: Set<T>, values: readonly (T | null)[] | null, most: number): void => {
    for (const value of values ?? []) if (value !== null && set.size < most) set.add(value)
  }
  add(group.applications, row.applications, NAMES)
  add(group.handlers, row.handlers, NAMES)
  add(group.stages, row.stages, NAMES)
  add(group.codeVersions, row.code_versions, NAMES)
  add(group.keys, row.keys, MOST_KEYS)
}

async function readPage(
  db: Queryable,
  filter: GroupFilter,
  [fingerprint, id]: readonly [string, string],
): Promise<PageRow[]> {
  const { rows } = await db.query<PageRow>(
    `/* millrace:dead-letter-groups */ with page as materialized (
       select id, fingerprint, application, handler, stage, key, code_version, created_at,
         coalesce(failed_at, created_at) as failed_at,
         ($4::text is null or application = $4) and ($5::text is null or handler = $5)
         and ($6::text is null or stage = $6) and ($7::text is null or topic = $7)
         and ($8::timestamptz is null or created_at >= $8)
         and ($9::timestamptz is null or created_at < $9) as fits
       from millrace.dead_letter where state = $1 and (fingerprint, id) > ($2, $3)
       order by fingerprint, id limit $10
     )
     select fingerprint, count(*)::int as walked, max(id)::text as last_id,
       count(*) filter (where fits)::int as count,
       count(*) filter (where fits and failed_at > clock_timestamp() - interval '1 hour')::int as last_hour,
       min(created_at) filter (where fits) as first_seen, max(failed_at) filter (where fits) as last_seen,
       max(id) filter (where fits)::text as newest,
       array_agg(distinct application) filter (where fits) as applications,
       array_agg(distinct handler) filter (where fits) as handlers,
       array_agg(distinct stage) filter (where fits) as stages,
       array_agg(distinct code_version) filter (where fits and code_version is not null) as code_versions,
       array_agg(distinct md5(substring(key for 1000))) filter (where fits and key is not null) as keys
     from page group by fingerprint order by fingerprint`,
    [
      filter.state ?? 'open',
      fingerprint,
      id,
      filter.application ?? null,
      filter.handler ?? null,
      filter.stage ?? null,
      filter.topic ?? null,
      filter.since ?? null,
      filter.until ?? null,
      PAGE,
    ],
  )
  return rows
}

async function errorsOf(
  db: Queryable,
  ids: readonly bigint[],
): Promise<Map<bigint, ErrorDescription>> {
  if (ids.length === 0) return new Map()
  const { rows } = await db.query<{ id: string; error: unknown }>(
    `/* millrace:dead-letter-examples */ select id::text, error from millrace.dead_letter
     where id = any ($1::bigint[])`,
    [ids.map(String)],
  )
  return new Map(rows.map(({ id, error }) => [BigInt(id), storedError(error)]))
}
