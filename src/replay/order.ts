import { toJson } from '../core/to-json.ts'
import { noteAction, type OrderedBy } from '../control/operator-action.ts'
import type { Core } from '../core/core.ts'
import { carriedConditions, countSelected } from '../dead-letter/selected.ts'
import type { DeadLetterSelection } from '../dead-letter/selection.ts'
import { isWhole, Problems } from '../errors/config.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { wake } from '../postgres/listener.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { retryConflicts } from '../postgres/retry-conflicts.ts'
import { transaction } from '../postgres/transaction.ts'
import {
  replayOf,
  REPLAY_COLUMNS,
  type Replay,
  type ReplayPace,
  type ReplayRow,
  type ReplayState,
} from './replay.ts'

/** How often a dead letter may fail in replays before it is parked, where nothing else was said. */
const DEFAULT_MAX_REPLAYS = 3

/** What carries an order out; an operator has it all. */
export interface ReplayOrderParts {
  readonly core: Core
  readonly pool: Pool
  /** Who orders; kept with every order. */
  readonly user: string
}

/** A replay that is ordered. */
export interface ReplayOrder extends Partial<ReplayPace>, Pick<OrderedBy, 'reason'> {
  readonly selection: DeadLetterSelection
}

/** How many dead letters an order would work on now. */
export async function countReplay(db: Queryable, selection: DeadLetterSelection): Promise<bigint> {
  return countSelected(db, selection, await endOfLetters(db))
}

/**
 * Orders a replay: the application works through what is open of the selection now, with the handlers that are deployed
 * now, once each. Resolves when it is written down; a process that runs the application takes it up, now or when it starts.
 * @throws E_CONFIG_INVALID naming all wrong options.
 */
export async function orderReplay(parts: ReplayOrderParts, order: ReplayOrder): Promise<Replay> {
  checkOrder(order)
  // Refused here, rather than by whoever takes it up.
  carriedConditions(order.selection)
  return writeReplay(parts, order, undefined, {
    action: 'dlq',
    filter: order.selection,
    more: () => Promise.resolve(),
  })
}

/**
 * Writes a replay down, with its note in the audit. `records`: how many past records it is of; undefined: of dead letters,
 * as many as there are of the selection.
 */
export async function writeReplay(
  parts: ReplayOrderParts,
  order: ReplayOrder,
  records: bigint | undefined,
  kind: {
    readonly action: 'dlq' | 'records'
    readonly filter: object
    readonly more: (tx: Queryable, id: bigint) => Promise<void>
  },
): Promise<Replay> {
  const { core, pool, user } = parts
  const { selection, reason, dryRun = false, maxReplays = DEFAULT_MAX_REPLAYS } = order
  const pace = {
    rate: order.rate ?? null,
    canary: order.canary ?? null,
    stopAfter: order.stopAfter ?? null,
    stopShare: order.stopShare ?? null,
  }
  const replay = await transaction(pool, core, async (tx) => {
    const end = records === undefined ? await endOfLetters(tx) : 0n
    const total = records ?? (await countSelected(tx, selection, end))
    const { rows } = await tx.query<ReplayRow>(
      `/* millrace:replay-order */ insert into millrace.replay as r (application, selection, next_id, end_id, dry_run, rate,
         canary, stop_after, stop_every, stop_share, max_replays, total, ordered_by, reason)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13) returning ${REPLAY_COLUMNS}`,
      [
        selection.application,
        toJson(selection),
        selection.from ?? 0n,
        end,
        dryRun,
        pace.rate,
        pace.canary,
        pace.stopAfter,
        pace.stopShare,
        maxReplays,
        total,
        user,
        reason ?? null,
      ],
    )
    const ordered = replayOf(rows[0] as ReplayRow)
    await kind.more(tx, ordered.id)
    await noteAction(tx, {
      user,
      reason,
      action: `${kind.action}.${dryRun ? 'dry-run' : 'replay'}`,
      filter: { ...kind.filter, ...pace, maxReplays },
      count: Number(total),
      detail: { replay: ordered.id },
    })
    return ordered
  })
  await wakeReplayers(parts)
  return getReplay(pool, replay.id)
}

/** What can be done to a replay that is under way. */
export type ReplayChange = 'pause' | 'resume' | 'abort'

const CHANGES: Readonly<Record<ReplayChange, { to: ReplayState; from: readonly ReplayState[] }>> = {
  pause: { to: 'paused', from: ['running'] },
  resume: { to: 'running', from: ['paused', 'stopped'] },
  abort: { to: 'aborted', from: ['running', 'paused', 'stopped'] },
}

/**
 * Pauses, resumes or aborts a replay. Its owner commits nothing more once this has: a chunk under way is rolled back. One
 * that its own limit has stopped may fail as often again when it is resumed.
 * @throws E_REPLAY_NOT_FOUND; E_REPLAY_STATE when it is in a state in which this cannot be done.
 */
export async function changeReplay(
  parts: ReplayOrderParts,
  id: bigint,
  change: ReplayChange,
  { reason }: Pick<OrderedBy, 'reason'> = {},
): Promise<Replay> {
  const { core, pool, user } = parts
  const { to, from } = CHANGES[change]
  const replay = await retryConflicts(core, () =>
    transaction(pool, core, async (tx) => {
      const before = await getReplay(tx, id, { lock: true })
      if (!from.includes(before.state)) {
        throw new MillraceError(
          'E_REPLAY_STATE',
          `replay ${id} is ${before.state}: it cannot be ${change === 'abort' ? 'aborted' : `${change}d`}`,
          { details: { id: String(id), state: before.state } },
        )
      }
      const { rows } = await tx.query<ReplayRow>(
        `/* millrace:replay-change */ update millrace.replay r
         set state = $2, note = $3, owner = null, epoch = epoch + 1, updated_at = clock_timestamp(),
           finished_at = case when $2 = 'aborted' then clock_timestamp() end,
           stop_after = case when r.state = 'stopped' and $2 = 'running' then r.failed + r.stop_every else r.stop_after end,
           stop_share = case when r.state = 'stopped' and $2 = 'running' then null else r.stop_share end
         where id = $1 returning ${REPLAY_COLUMNS}`,
        [id, to, to === 'running' ? null : (reason ?? null)],
      )
      await noteAction(tx, {
        user,
        reason,
        action: `replays.${change}`,
        filter: { replay: id },
        count: 1,
        detail: { from: before.state },
      })
      return replayOf(rows[0] as ReplayRow)
    }),
  )
  await wakeReplayers(parts)
  return replay
}

/**
 * One replay.
 * @throws E_REPLAY_NOT_FOUND
 */
export async function getReplay(
  db: Queryable,
  id: bigint,
  { lock = false }: { readonly lock?: boolean } = {},
): Promise<Replay> {
  const { rows } = await db.query<ReplayRow>(
    `/* millrace:replay-get */ select ${REPLAY_COLUMNS} from millrace.replay r where id = $1 ${lock ? 'for update' : ''}`,
    [id],
  )
  if (rows[0] === undefined) {
    throw new MillraceError(
      'E_REPLAY_NOT_FOUND',
      `there is no replay ${id}. See \`millrace replays list\` for those there are.`,
      { details: { id: String(id) } },
    )
  }
  return replayOf(rows[0])
}

/** The number of the next dead letter: what is below was there before. */
async function endOfLetters(db: Queryable): Promise<bigint> {
  const { rows } = await db.query<{ end: string }>(
    '/* millrace:replay-end */ select coalesce(max(id) + 1, 0)::text as end from millrace.dead_letter',
  )
  return BigInt(rows[0]?.end ?? 0)
}

async function wakeReplayers({ core, pool }: ReplayOrderParts): Promise<void> {
  await wake(pool, 'replay').catch((error: unknown) =>
    core.logger.debug({ error }, 'no wake-up sent; replays are looked for every second'),
  )
}

/** @throws E_CONFIG_INVALID naming all wrong options. */
export function checkOrder({
  selection,
  rate,
  canary,
  stopAfter,
  stopShare,
  maxReplays,
}: ReplayOrder): void {
  const problems = new Problems('the replay')
  const whole = (name: string, value: number | null | undefined, most: number): void => {
    problems.expect(
      value == null || isWhole(value, 1, most),
      name,
      `a whole number from 1 to ${most}`,
      value,
    )
  }
  problems.expect(
    rate == null || (rate > 0 && rate <= 1_000_000),
    'rate',
    'a number above 0, at most 1000000',
    rate,
  )
  whole('canary', canary, 1_000_000)
  whole('stopAfter', stopAfter, 1_000_000_000)
  whole('maxReplays', maxReplays, 1_000)
  problems.expect(
    stopShare == null || (stopShare > 0 && stopShare <= 1),
    'stopShare',
    'a share above 0, at most 1',
    stopShare,
  )
  problems.expect(
    (selection.ids?.length ?? 0) <= 10_000,
    'ids',
    'at most 10000 numbers; use a group or another condition for more',
    selection.ids?.length,
  )
  problems.throwIfAny()
}
