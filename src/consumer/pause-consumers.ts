import { noteAction, type OrderedBy } from '../control/operator-action.ts'
import {
  clearPauses,
  listPauses,
  pauseOf,
  setPause,
  type Pause,
  type PauseScope,
} from '../control/pauses.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import {
  acceptFailures,
  listFloodStops,
  releaseFloodStops,
  type AcceptedFailure,
  type FloodStop,
} from './flood-stops.ts'
import { retryConflicts } from '../postgres/retry-conflicts.ts'
import { transaction } from '../postgres/transaction.ts'
import {
  knownPositions,
  wakeOwners,
  type ConsumerScope,
  type OrderParts,
  type OrderedPosition,
  type RefusedPosition,
} from './scope.ts'

/** How to pause. */
export interface PauseOptions {
  /** Shown to everybody who asks why nothing is read. */
  readonly reason: string
  /** For how long, in milliseconds of the database's clock. Default: until it is resumed. */
  readonly forMs?: number | undefined
}

/**
 * Holds partitions back until they are resumed, over restarts and deploys; also such as are added later. The processes
 * that read them finish the batch at hand and give them back; whoever has been told at once, the others within a second.
 * Pausing again says a new reason and a new time.
 * @throws E_CONSUMER_NOT_FOUND
 */
export async function pauseConsumers(
  parts: OrderParts,
  scope: ConsumerScope,
  { reason, forMs }: PauseOptions,
): Promise<{ readonly pause: Pause; readonly positions: readonly OrderedPosition[] }> {
  const { core, pool, user } = parts
  const { application, topic = null, partition = null } = scope
  const done = await retryConflicts(core, () =>
    transaction(pool, core, async (tx) => {
      const positions = await knownPositions(tx, scope)
      const pause = await setPause(
        tx,
        { application, topic, partition },
        { by: user, reason, forMs: forMs ?? null },
      )
      await noteAction(tx, {
        user,
        reason,
        action: 'consumers.pause',
        filter: scope,
        count: positions.length,
        detail: { expiresAt: pause.expiresAt },
      })
      return { pause, positions }
    }),
  )
  await wakeOwners(parts, application)
  return done
}

/** How to resume. */
export interface ResumeOptions extends Pick<OrderedBy, 'reason'> {
  /** Only says what would be resumed. Default false. */
  readonly dryRun?: boolean
  /**
   * The failures for which the flood brake has stopped partitions of the scope are really bad: they become dead letters,
   * in all partitions of the application. Default: they are tried again, and stop the partition again if they still fail.
   */
  readonly acceptFailures?: {
    /** Shown to everybody who asks. */
    readonly reason: string
    /** For how long, in milliseconds of the database's clock; then they count again. Default 86,400,000: a day. */
    readonly forMs?: number | undefined
  }
}

/** What was resumed. */
export interface Resumed {
  /** The pauses that were taken back. */
  readonly pauses: readonly Pause[]
  /** The stops of the flood brake that were taken back. */
  readonly stops: readonly FloodStop[]
  /** The failures that are accepted from now on; empty for a dry run. */
  readonly accepted: readonly AcceptedFailure[]
  /** Partitions of the scope that a wider pause still holds back. */
  readonly held: readonly RefusedPosition[]
}

const DAY_MS = 86_400_000

/**
 * Takes back the pauses of a scope and of all within it, and the stops of the flood brake.
 * @throws E_CONSUMER_NOT_FOUND
 * @throws E_CONSUMER_STATE when only a wider pause holds it back: that one has to be resumed as a whole; or when failures
 * are to be accepted, and there are none for which it was stopped.
 */
export async function resumeConsumers(
  parts: OrderParts,
  scope: ConsumerScope,
  options: ResumeOptions = {},
): Promise<Resumed> {
  const { core, pool, user } = parts
  const { acceptFailures: accept, dryRun = false, reason = accept?.reason } = options
  const { application, topic = null, partition = null } = scope
  const asked = { application, topic, partition }
  const resumed = await retryConflicts(core, () =>
    transaction(pool, core, async (tx): Promise<Resumed> => {
      const positions = await knownPositions(tx, scope)
      const stops = await listFloodStops(tx, scope, { lock: !dryRun })
      const all = await listPauses(tx, application)
      const pauses = all.filter((pause) => isWithin(asked, pause))
      const left = all.filter((pause) => !isWithin(asked, pause))
      const held = positions.flatMap((position): RefusedPosition[] => {
        const pause = pauseOf(left, position)
        return pause === undefined
          ? []
          : [{ topic: position.topic, partition: position.partition, why: describePause(pause) }]
      })
      if (accept !== undefined && stops.length === 0) {
        throw new MillraceError(
          'E_CONSUMER_STATE',
          'the flood brake has stopped nothing there, so there are no failures to accept. See `millrace consumers list`',
        )
      }
      const [first] = held
      if (pauses.length === 0 && stops.length === 0 && first !== undefined) {
        throw new MillraceError(
          'E_CONSUMER_STATE',
          `a wider pause holds it back: ${first.why}. Resume that one as a whole: ${resumeCommand(pauseOf(left, positions[0] as OrderedPosition) as Pause)}`,
        )
      }
      if ((pauses.length === 0 && stops.length === 0) || dryRun)
        return { pauses, stops, accepted: [], held }
      await clearPauses(tx, asked)
      const decision = accept === undefined ? 'try-again' : 'accept-failures'
      await releaseFloodStops(tx, stops, { user, reason, decision })
      const fingerprints = stops.map(({ flood }) => flood.fingerprint)
      const accepted =
        accept === undefined
          ? []
          : await acceptFailures(tx, application, fingerprints, {
              by: user,
              reason: accept.reason,
              forMs: accept.forMs ?? DAY_MS,
            })
      await noteAction(tx, {
        user,
        reason,
        action: accept === undefined ? 'consumers.resume' : 'consumers.accept-failures',
        filter: scope,
        count: pauses.length > 0 ? positions.length - held.length : stops.length,
        detail: {
          pauses,
          stops: stops.map(({ gap, topic: of, partition: at, position, flood }) => {
            const { fingerprint, failed, records, keys } = flood
            return { gap, topic: of, partition: at, position, fingerprint, failed, records, keys }
          }),
          accepted,
        },
      })
      return { pauses, stops, accepted, held }
    }),
  )
  if (!dryRun) await wakeOwners(parts, application)
  return resumed
}

function isWithin(scope: PauseScope, pause: Pause): boolean {
  return (
    (scope.topic === null || pause.topic === scope.topic) &&
    (scope.partition === null || pause.partition === scope.partition)
  )
}

/** Why a partition is not read, in words for people. */
export function describePause({ topic, partition, by, reason, expiresAt }: Pause): string {
  const what = topic === null ? 'all of it' : partition === null ? topic : `${topic}/${partition}`
  const until = expiresAt === null ? '' : ` until ${expiresAt.toISOString()}`
  return `${what} paused by ${by}${until}: ${reason}`
}

/** The command that takes a pause back. */
export function resumeCommand({ application, topic, partition }: Pause): string {
  return [
    `millrace consumers resume --app ${application}`,
    ...(topic === null ? [] : [`--topic ${topic}`]),
    ...(partition === null ? [] : [`--partition ${partition}`]),
  ].join(' ')
}
