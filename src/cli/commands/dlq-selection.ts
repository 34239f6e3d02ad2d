import { applicationsOf, type DeadLetterSelection } from '../../dead-letter/queries.ts'
import { usage } from '../errors.ts'
import type { Arguments, OptionSet } from '../options.ts'
import {
  CARRIED_OPTIONS,
  carriedOf,
  deadLetterId,
  given,
  groupOf,
  SCOPE_OPTIONS,
  scopeOf,
} from './dlq-filter.ts'

/** What every command understands that works on many dead letters. */
export const SELECTION_OPTIONS: OptionSet = {
  ...SCOPE_OPTIONS,
  app: { type: 'string', value: '<name>', help: 'of this application (needed without numbers)' },
  from: { type: 'string', value: '<number>', help: 'from this dead letter on' },
  group: { type: 'string', value: '<fingerprint>', help: 'of one cause: see dlq groups' },
  partition: { type: 'string', value: '<n>', help: 'only records of this partition' },
  ...CARRIED_OPTIONS,
  parked: { type: 'boolean', help: 'also those that are parked' },
}

/**
 * The dead letters that a command line names: by conditions, by numbers, or both.
 * @throws E_CLI_USAGE when it names none, or those of several applications; E_DLQ_NOT_FOUND
 */
export async function selectionOf(
  args: Arguments,
  db: Parameters<typeof applicationsOf>[0],
): Promise<DeadLetterSelection> {
  const ids = args.positionals.map((text) => deadLetterId(text) as bigint)
  const { application: app, ...scope } = scopeOf(args)
  if (app === undefined && ids.length === 0)
    throw usage('which dead letters? --app <name>, or their numbers', 'millrace dlq groups')
  const group = args.text('group')
  return {
    ...given({
      ...scope,
      ids: ids.length === 0 ? undefined : ids,
      from: deadLetterId(args.text('from')),
      fingerprint: group === undefined ? undefined : groupOf(group),
      partition: args.whole('partition', 0, 1_000_000),
      ...carriedOf(args),
      parked: args.flag('parked') ? true : undefined,
    }),
    application: app ?? (await applicationOfAll(db, ids)),
  }
}

async function applicationOfAll(
  db: Parameters<typeof applicationsOf>[0],
  ids: readonly bigint[],
): Promise<string | null> {
  const [first = null, ...others] = await applicationsOf(db, ids)
  const differs = others.findIndex((one) => one !== first)
  if (differs < 0) return first
  throw usage(
    `dead letters ${String(ids[0])} and ${String(ids[differs + 1])} are of different applications, ${first ?? 'none'} and ${others[differs] ?? 'none'}: one at a time`,
  )
}
