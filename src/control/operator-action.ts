import { toJson } from '../core/to-json.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** Who orders something, and why. */
export interface OrderedBy {
  /** Name of the operator, as it is kept: `ana@host`. */
  readonly user: string
  /** Why. Default: not said. */
  readonly reason?: string | undefined
}

/** Everything that an operator can do, by the name that the audit has for it. A new one needs its place in the tests of all. */
export type OperatorActionName =
  | `consumers.${'pause' | 'resume' | 'accept-failures' | 'seek' | 'resolve'}`
  | `dlq.${'replay' | 'dry-run' | 'edit' | 'discard'}`
  | `records.${'replay' | 'dry-run'}`
  | `replays.${'pause' | 'resume' | 'abort'}`
  | `jobs.${'retry' | 'cancel'}`
  | 'events.publish'
  | 'outbox.accept'

/** Something that an operator did. */
export interface OperatorAction extends OrderedBy {
  /** What was done: `consumers.seek`. */
  readonly action: OperatorActionName
  /** What was asked for. bigints become texts. */
  readonly filter: unknown
  /** How many partitions, jobs or records were changed. */
  readonly count: number
  /** What became of each, where that is more than the number. bigints become texts. */
  readonly detail?: unknown
}

/**
 * Writes down what an operator did, in the transaction that does it: one is not there without the other. Gives the number
 * it has in the audit.
 */
export async function noteAction(tx: Queryable, done: OperatorAction): Promise<bigint> {
  const { rows } = await tx.query<{ id: string }>(
    `/* millrace:operator-action */ insert into millrace.operator_action (operator, action, filter, count, reason, detail)
     values ($1, $2, $3, $4, $5, $6) returning id::text`,
    [
      done.user,
      done.action,
      toJson(done.filter),
      done.count,
      done.reason ?? null,
      done.detail === undefined ? null : toJson(done.detail),
    ],
  )
  return BigInt(rows[0]?.id ?? 0)
}

/**
 * Adds what became of an action that was written down before it was begun, because it happens outside of the database and
 * must not happen without a trace.
 */
export async function noteOutcome(
  db: Queryable,
  id: bigint,
  { count, detail }: Pick<OperatorAction, 'count' | 'detail'>,
): Promise<void> {
  await db.query(
    `/* millrace:operator-outcome */ update millrace.operator_action set count = $2, detail = $3 where id = $1`,
    [id, count, detail === undefined ? null : toJson(detail)],
  )
}
