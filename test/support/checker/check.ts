import { checkAcknowledged } from './acknowledged.ts'
import { checkAttempts } from './attempts.ts'
import { checkAudited } from './audited.ts'
import { checkDeadLetters } from './dead-letters.ts'
import type { Dumps } from './dumps.ts'
import { checkEchoed } from './echoed.ts'
import { checkEffectsInside, checkEffectsOutside } from './effects.ts'
import { entriesOf, runOf, type HistoryEntry } from './history.ts'
import { checkLiveness } from './liveness.ts'
import { checkNothingLost } from './nothing-lost.ts'
import { checkOneJob } from './one-job.ts'
import { checkOrder } from './order.ts'
import { checkPositions } from './positions.ts'
import { checkReplays } from './replays.ts'
import { checkStaleHand } from './stale-hand.ts'
import type { Verdict } from './verdict.ts'

const CHECKS = [
  checkNothingLost,
  checkOneJob,
  checkPositions,
  checkEffectsInside,
  checkEffectsOutside,
  checkOrder,
  checkStaleHand,
  checkDeadLetters,
  checkAttempts,
  checkLiveness,
  checkAcknowledged,
  checkEchoed,
  checkAudited,
  checkReplays,
]

/**
 * Judges a run by what its observers wrote and by what the tables hold at its end. A run whose faults were not all seen,
 * or that has none without saying so, is `unknown`; a violation weighs more than a doubt.
 */
export function check(history: readonly HistoryEntry[], dumps: Dumps): Verdict {
  const violations = CHECKS.flatMap((one) => one(history, dumps))
  const faults = entriesOf(history, 'fault')
  const doubts = faults
    .filter(({ seen }) => !seen)
    .map(({ name, target, evidence }) => `${name} at ${target} was not seen: ${evidence}`)
  if (faults.length === 0 && !runOf(history).faultless) doubts.push('no fault was injected')
  if (entriesOf(history, 'produce').length === 0) doubts.push('nothing was produced')
  const result = violations.length > 0 ? 'violation' : doubts.length > 0 ? 'unknown' : 'pass'
  return { result, violations, doubts }
}
