import type { Queryable } from '../postgres/queryable.ts'

/** Which actions to list. All given conditions hold at once. */
export interface ActionFilter {
  readonly operator?: string
  /** `consumers.seek`, or all of `consumers`. */
  readonly action?: string
  readonly since?: Date
  readonly until?: Date
  /** Only those with a lower number: the next page. */
  readonly before?: bigint
  /** At most this many. Default 50. Bounds 1 … 1,000. */
  readonly limit?: number
}

/** Something that an operator did, as it was written down in the transaction that did it. */
export interface NotedAction {
  readonly id: bigint
  readonly at: Date
  /** Who: `ana@host`. */
  readonly operator: string
  /** `consumers.seek`, `jobs.retry`, … */
  readonly action: string
  /** What was asked for. */
  readonly filter: unknown
  /** How many partitions, jobs, records or dead letters it changed. */
  readonly count: number
  readonly reason: string | null
  /** What became of each, where that is more than the number. */
  readonly detail: unknown
}

/** What operators did, newest first, a page at a time. */
export async function listActions(
  db: Queryable,
  filter: ActionFilter = {},
): Promise<NotedAction[]> {
  const { rows } = await db.query<
    Omit<NotedAction, 'id' | 'count'> & { id: string; count: string } & Record<string, unknown>
  >(
    `/* millrace:operator-action-list */ select id::text, at, operator, action, filter, count::text, reason, detail
     from millrace.operator_action
     where ($1::text is null or operator = $1)
       and ($2::text is null or action = $2 or starts_with(action, $2 || '.'))
       and ($3::timestamptz is null or at >= $3) and ($4::timestamptz is null or at < $4)
       and ($5::bigint is null or id < $5)
     order by operator_action.id desc limit $6`,
    [
      filter.operator ?? null,
      filter.action ?? null,
      filter.since ?? null,
      filter.until ?? null,
      filter.before ?? null,
      Math.min(1_000, Math.max(1, filter.limit ?? 50)),
    ],
  )
  return rows.map((row) => ({ ...row, id: BigInt(row.id), count: Number(row.count) }))
}
