import { usage } from '../errors.ts'
import type { Arguments, OptionSet } from '../options.ts'

/** What every command understands that orders a replay. */
export const PACE_OPTIONS: OptionSet = {
  rate: { type: 'string', value: '<n>', help: 'at most so many a second (default as it goes)' },
  canary: {
    type: 'string',
    value: '<n>',
    help: 'try so many first; wait when one of them fails',
  },
  'stop-after': {
    type: 'string',
    value: '<n|x%>',
    help: 'end after so many failures, or at such a share of them',
  },
  detach: { type: 'boolean', help: 'order it, and do not wait for its end' },
}

/** A dry run of a replay is more than telling what would be done: it takes the place of the option that orders have in common. */
export const REHEARSAL_OPTION: OptionSet = {
  'dry-run': {
    type: 'boolean',
    help: 'decode, validate, prepare and apply for real, roll back, and say who would pass',
  },
}

/** What {@link PACE_OPTIONS} said. */
export function paceOf(args: Arguments): {
  rate: number | null
  canary: number | null
  stopAfter: number | null
  stopShare: number | null
} {
  const stop = args.text('stop-after')
  const share = stop === undefined ? null : /^(\d{1,3}(?:\.\d+)?)%$/.exec(stop)
  if (stop !== undefined && share === null && !/^[1-9]\d{0,8}$/.test(stop))
    throw usage(`--stop-after: expected a number of failures or a share as 1%, got '${stop}'`)
  return {
    rate: args.whole('rate', 1, 1_000_000) ?? null,
    canary: args.whole('canary', 1, 1_000_000) ?? null,
    stopAfter: stop === undefined || share !== null ? null : Number(stop),
    stopShare: share === null ? null : Number(share[1]) / 100,
  }
}
