import { foldCounts, MAX_FOLD } from '../counts/counts.ts'
import type { Duty } from './duty.ts'

/** Folds the changes of kept counts into one row per count. */
export const fold: Duty = {
  name: 'fold-counts',
  intervalMs: 1_000,
  async run({ pool }, signal) {
    while ((await foldCounts(pool)) === MAX_FOLD && !signal.aborted);
  },
}
