import { noteAction, type OrderedBy } from '../control/operator-action.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import type { PartitionOffsets } from '../log/port.ts'
import { retryConflicts } from '../postgres/retry-conflicts.ts'
import { transaction } from '../postgres/transaction.ts'
import type { StartPosition } from './application.ts'
import {
  knownPositions,
  positionsIn,
  wakeOwners,
  type ConsumerScope,
  type OrderedPosition,
  type OrderParts,
  type RefusedPosition,
} from './scope.ts'
import { startOffset } from './start-offset.ts'

/** A position that is moved, and what that means. Numbers of records count offsets, so holes count. */
export interface PositionMove {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly generation: number
  readonly position: bigint
  readonly to: bigint
  /** Records that are read again. */
  readonly reread: bigint
  /** Records that are never read. */
  readonly skipped: bigint
}

/** What a seek would do. */
export interface SeekPlan {
  readonly scope: ConsumerScope & { readonly topic: string }
  readonly target: StartPosition
  /** Also those that are where they should be. */
  readonly moves: readonly PositionMove[]
  readonly refused: readonly RefusedPosition[]
}

/**
 * Says what it would mean to read on from `target`, per partition; changes nothing.
 * @throws E_CONSUMER_NOT_FOUND
 */
export async function planSeek(
  parts: Pick<OrderParts, 'pool' | 'log'>,
  scope: SeekPlan['scope'],
  target: StartPosition,
): Promise<SeekPlan> {
  const positions = await knownPositions(parts.pool, scope)
  const log = await parts.log()
  const topic = await log.topic(scope.topic)
  const ranges = topic === undefined ? [] : await log.offsets(topic.id)
  const moves: PositionMove[] = []
  const refused: RefusedPosition[] = []
  for (const position of positions) {
    const { partition, topicId, next } = position
    const range = ranges.find((one) => one.partition === partition)
    const why = cannotMove(position, topic?.id, range)
    if (why !== undefined) {
      refused.push({ topic: scope.topic, partition, why })
      continue
    }
    const found = await startOffset(log, topicId, range as NonNullable<typeof range>, target)
    // The visible end may lie before what was read already, while somebody's transaction is open: nothing to go back for.
    const to = target === 'end' && found < next ? next : found
    moves.push(moveOf(position, to))
  }
  return { scope, target, moves, refused }
}

/**
 * Carries a plan out: the positions go where it says, each in a new generation, so that what is read again makes new jobs
 * on purpose. Works whether the application runs or not.
 *
 * What may happen at the same time, position by position; the row's lock puts it in one order:
 * - A batch of the owner commits before us. The position has moved on; we move it from where it is. What the batch made
 *   stays. If that took it to or past a target that was ahead, there is nothing left to skip, and reading a little of it
 *   again was not asked for: refused.
 * - A batch of the owner comes to its compare-and-set after us. Owner, epoch and position are others: it moves nothing and
 *   is rolled back as a whole, and its records are read again only if they lie behind the target.
 * - The owner waits for records, for a back-off, or in `prepare`. It is woken, sees the new epoch, and gives up what it
 *   has; see `Ownership`. Woken or not, all that it could commit is refused as above.
 * - Somebody takes the position over, or it is halted, between plan and order. A new owner is treated like the old one;
 *   a halted position is refused.
 * - Another operator moves it first. Its generation is another: refused.
 * @throws E_CONSUMER_STATE when no position can be moved.
 */
export async function seekConsumers(
  parts: OrderParts,
  { scope, target, moves: planned, refused: refusedBefore }: SeekPlan,
  { reason }: Pick<OrderedBy, 'reason'> = {},
): Promise<Pick<SeekPlan, 'moves' | 'refused'>> {
  const { core, pool, user } = parts
  const result = await retryConflicts(core, () =>
    transaction(pool, core, async (tx) => {
      const rows = new Map(
        (await positionsIn(tx, scope, { lock: true })).map((row) => [keyOf(row), row]),
      )
      const moves: PositionMove[] = []
      const refused = [...refusedBefore]
      for (const plan of planned) {
        const row = rows.get(keyOf(plan))
        const why = changedMeanwhile(plan, row)
        if (why !== undefined) refused.push({ topic: plan.topic, partition: plan.partition, why })
        else if (plan.to === plan.position) moves.push(plan)
        else moves.push(moveOf(row as OrderedPosition, plan.to))
      }
      const moved = moves.filter(({ position, to }) => position !== to)
      await tx.query(
        `/* millrace:position-seek */ update millrace.position p
         set next_offset = k.next, generation = generation + 1, epoch = epoch + 1, owner = null, waiting = null,
           updated_at = clock_timestamp()
         from unnest($2::uuid[], $3::int[], $4::bigint[]) k(topic_id, partition, next)
         where p.application = $1 and p.topic_id = k.topic_id and p.partition = k.partition`,
        [
          scope.application,
          moved.map(({ topicId }) => topicId),
          moved.map(({ partition }) => partition),
          moved.map(({ to }) => to),
        ],
      )
      if (moved.length > 0) {
        await noteAction(tx, {
          user,
          reason,
          action: 'consumers.seek',
          filter: { ...scope, to: target },
          count: moved.length,
          detail: moved,
        })
      }
      return { moves, refused }
    }),
  )
  await wakeOwners(parts, scope.application)
  if (result.moves.length === 0) throw nothingMoved(result.refused)
  return result
}

/** E_CONSUMER_STATE that says why no position can be moved. */
export function nothingMoved(refused: readonly RefusedPosition[]): MillraceError {
  const [first] = refused
  const why = first === undefined ? '' : `. ${first.topic}/${first.partition}: ${first.why}`
  return new MillraceError('E_CONSUMER_STATE', `no position can be moved${why}`, {
    details: { refused },
  })
}

function cannotMove(
  { halted, topicId, next }: OrderedPosition,
  topicNow: string | undefined,
  range: PartitionOffsets | undefined,
): string | undefined {
  const first = 'start the application, which finds out what is missing, and resolve that'
  if (halted !== null) return `it is stopped: ${halted}`
  if (topicNow !== topicId || range === undefined)
    return `the topic was deleted or made anew; ${first}`
  if (range.unavailable !== undefined) return `it cannot be read just now: ${range.unavailable}`
  if (next < range.start || next > range.appendOffset)
    return `position ${next} lies outside of the log, which has ${range.start} to ${range.appendOffset}; ${first}`
  return undefined
}

function changedMeanwhile(
  plan: PositionMove,
  row: OrderedPosition | undefined,
): string | undefined {
  if (row === undefined) return 'it is gone'
  if (row.halted !== null) return `it was stopped meanwhile: ${row.halted}`
  if (row.generation !== plan.generation) return 'somebody else moved it meanwhile'
  if (plan.to > plan.position && row.next >= plan.to)
    return `it was read up to ${row.next} meanwhile`
  return undefined
}

function moveOf(position: OrderedPosition, to: bigint): PositionMove {
  const { topic, topicId, partition, generation, next } = position
  return {
    topic,
    topicId,
    partition,
    generation,
    position: next,
    to,
    reread: to < next ? next - to : 0n,
    skipped: to > next ? to - next : 0n,
  }
}

function keyOf({ topicId, partition }: { topicId: string; partition: number }): string {
  return `${topicId}/${partition}`
}
