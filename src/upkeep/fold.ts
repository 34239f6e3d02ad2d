import { foldCounts, MAX_FOLD } from '../counts/counts.ts'
import { foldDeadLetterGroups, MAX_GROUP_FOLD } from '../counts/dead-letter-groups.ts'
import type { Duty } from './duty.ts'

/** Folds the changes of kept counts into one row per count, and those of groups of dead letters into one row per group. */
export const fold: Duty = {
  name: 'fold-counts',
  intervalMs: 1_000,
  async run({ pool }, signal) {
    while ((await foldCounts(pool)) === MAX_FOLD && !signal.aborted);
    while ((await foldDeadLetterGroups(pool)) === MAX_GROUP_FOLD && !signal.aborted);
  },
}
