import { noteAction, type OrderedBy } from '../control/operator-action.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { retryConflicts } from '../postgres/retry-conflicts.ts'
import { transaction } from '../postgres/transaction.ts'
import { nameOf, type ResolvePlan, type ResolveStep } from './plan-resolve.ts'
import { wakeOwners, type OrderParts, type RefusedPosition } from './scope.ts'

/**
 * Carries a plan out, in one transaction: decides the gaps, and sets the positions going.
 *
 * Each is a compare-and-set: still halted, in the generation and at the offset of the plan; another operator who was
 * quicker wins. A halted position has no owner and nobody takes it, so no batch can be under way; a process that had it
 * before is kept out by the epoch. Every position that goes on does so in a new generation: one generation is one reading
 * without gaps or repetitions, and what is read again makes new jobs on purpose.
 *
 * Positions in a topic that is gone are taken away: their topic id will never come back, the gap row keeps where each
 * ended, and a halted row that nobody can set going would be an alarm for ever.
 * @throws E_CONSUMER_STATE when nothing could be resolved.
 */
export async function resolveConsumers(
  parts: OrderParts,
  plan: ResolvePlan,
  { reason }: Pick<OrderedBy, 'reason'> = {},
): Promise<Pick<ResolvePlan, 'steps' | 'refused'>> {
  const { core, pool, user } = parts
  const { scope, resolution, steps: planned } = plan
  const { application } = scope
  const result = await retryConflicts(core, () =>
    transaction(pool, core, async (tx) => {
      const done = new Set([
        ...(await moveOn(tx, application, planned)),
        ...(await takeAway(tx, application, planned)),
      ])
      const ended = planned.filter(({ position }) => position !== null)
      const begun = planned.filter(({ position }) => position === null)
      if (begun.length > 0) {
        // All of the old ones, or none: half a topic cannot be adopted.
        if (ended.some((step) => !done.has(keyOf(step)))) throw changed(nameOf(scope))
        for (const key of await begin(tx, application, begun)) done.add(key)
      }
      const steps = planned.filter((step) => done.has(keyOf(step)))
      const late = planned
        .filter((step) => !done.has(keyOf(step)))
        .map(({ topic, partition }) => ({ topic, partition, why: 'somebody was quicker' }))
      await decideGaps(tx, { application, steps, decision: resolution.decision, user, reason })
      if (steps.length > 0) {
        await noteAction(tx, {
          user,
          reason,
          action: 'consumers.resolve',
          filter: { ...scope, ...resolution },
          count: steps.filter(({ position }) => position !== null).length,
          detail: steps.map(({ seen: _, ...step }) => step),
        })
      }
      return { steps, refused: [...plan.refused, ...late] }
    }),
  )
  await wakeOwners(parts, application)
  if (result.steps.length === 0) throw nothingResolved(nameOf(scope), result.refused)
  return result
}

/** E_CONSUMER_STATE that says why nothing of a scope can be resolved so. */
export function nothingResolved(scope: string, refused: readonly RefusedPosition[]): MillraceError {
  const [first] = refused
  const why = first === undefined ? '' : `. ${first.topic}/${first.partition}: ${first.why}`
  return new MillraceError('E_CONSUMER_STATE', `nothing of ${scope} was resolved${why}`, {
    details: { refused },
  })
}

async function moveOn(
  tx: Queryable,
  application: string,
  planned: readonly ResolveStep[],
): Promise<string[]> {
  const steps = planned.filter(({ position, to }) => position !== null && to !== null)
  const { rows } = await tx.query<{ topicId: string; partition: number }>(
    `/* millrace:position-resolve */ update millrace.position p
     set halted = null, next_offset = k.to, generation = p.generation + 1, epoch = p.epoch + 1, owner = null,
       waiting = null, last_offset = k.last_offset, last_hash = k.last_hash, updated_at = clock_timestamp()
     from unnest($2::uuid[], $3::int[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[])
       k(topic_id, partition, generation, position, "to", last_offset, last_hash)
     where p.application = $1 and p.topic_id = k.topic_id and p.partition = k.partition
       and p.halted is not null and p.generation = k.generation and p.next_offset = k.position
     returning p.topic_id as "topicId", p.partition`,
    [
      application,
      ...keysOf(steps),
      steps.map(({ to }) => to),
      steps.map(({ seen }) => seen?.offset ?? null),
      steps.map(({ seen }) => (seen === null ? null : Buffer.from(seen.hash))),
    ],
  )
  return rows.map(keyOf)
}

async function takeAway(
  tx: Queryable,
  application: string,
  planned: readonly ResolveStep[],
): Promise<string[]> {
  const steps = planned.filter(({ to }) => to === null)
  const { rows } = await tx.query<{ topicId: string; partition: number }>(
    `/* millrace:position-end */ delete from millrace.position p
     using unnest($2::uuid[], $3::int[], $4::int[], $5::bigint[]) k(topic_id, partition, generation, position)
     where p.application = $1 and p.topic_id = k.topic_id and p.partition = k.partition
       and p.halted is not null and p.generation = k.generation and p.next_offset = k.position
     returning p.topic_id as "topicId", p.partition`,
    [application, ...keysOf(steps)],
  )
  return rows.map(keyOf)
}

async function begin(
  tx: Queryable,
  application: string,
  steps: readonly ResolveStep[],
): Promise<string[]> {
  const { rows } = await tx.query<{ topicId: string; partition: number }>(
    `/* millrace:position-adopt */ insert into millrace.position (application, topic, topic_id, partition, next_offset)
     select $1, k.* from unnest($2::text[], $3::uuid[], $4::int[], $5::bigint[]) k
     on conflict do nothing returning topic_id as "topicId", partition`,
    [
      application,
      steps.map(({ topic }) => topic),
      steps.map(({ topicId }) => topicId),
      steps.map(({ partition }) => partition),
      steps.map(({ to }) => to),
    ],
  )
  return rows.map(keyOf)
}

async function decideGaps(
  tx: Queryable,
  {
    application,
    steps,
    decision,
    user,
    reason,
  }: OrderedBy & {
    readonly application: string
    readonly steps: readonly ResolveStep[]
    readonly decision: string
  },
): Promise<void> {
  const ended = steps.filter(({ position }) => position !== null)
  const begun = steps.filter(({ position }) => position === null)
  await tx.query(
    `/* millrace:gap-decide */ update millrace.gap g
     set decision = $4, decided_by = $5, decided_at = clock_timestamp(), reason = $6, outcome = k.outcome
     from unnest($2::uuid[], $3::int[], $7::json[]) k(topic_id, partition, outcome)
     where g.application = $1 and g.topic_id = k.topic_id and g.partition = k.partition and g.decision is null`,
    [
      application,
      ended.map(({ topicId }) => topicId),
      ended.map(({ partition }) => partition),
      decision,
      user,
      reason ?? null,
      ended.map(({ topic, topicId, generation, to, reread, givenUp }) =>
        JSON.stringify({
          topicId: begun.find((step) => step.topic === topic)?.topicId ?? topicId,
          next: to === null ? null : String(to),
          generation: to === null ? null : generation + 1,
          reread: String(reread),
          givenUp: givenUp === null ? null : String(givenUp),
        }),
      ),
    ],
  )
}

function keysOf(steps: readonly ResolveStep[]): unknown[] {
  return [
    steps.map(({ topicId }) => topicId),
    steps.map(({ partition }) => partition),
    steps.map(({ generation }) => generation),
    steps.map(({ position }) => position),
  ]
}

function keyOf({ topicId, partition }: { topicId: string; partition: number }): string {
  return `${topicId}/${partition}`
}

function changed(scope: string): MillraceError {
  return new MillraceError(
    'E_CONSUMER_STATE',
    `the positions of ${scope} have changed since they were looked at; look again`,
  )
}
