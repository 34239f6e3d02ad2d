import { getDeadLetter, type DeadLetterSelection } from '../../dead-letter/queries.ts'
import { usage } from '../errors.ts'
import { TIME_OPTIONS, type Arguments, type OptionSet } from '../options.ts'
import { deadLetterId, groupOf } from './dlq-filter.ts'

/** What every command understands that works on many dead letters. */
export const SELECTION_OPTIONS: OptionSet = {
  app: { type: 'string', value: '<name>', help: 'of this application (needed without numbers)' },
  from: { type: 'string', value: '<number>', help: 'from this dead letter on' },
  group: { type: 'string', value: '<fingerprint>', help: 'of one cause: see dlq groups' },
  handler: { type: 'string', value: '<name>', help: 'only of this handler' },
  stage: {
    type: 'string',
    value: '<stage>',
    help: 'only from here: decode, validate, prepare, apply, job',
  },
  topic: { type: 'string', value: '<topic>', help: 'only records of this topic' },
  partition: { type: 'string', value: '<n>', help: 'only records of this partition' },
  parked: { type: 'boolean', help: 'also those that are parked' },
  ...TIME_OPTIONS,
}

/**
 * The dead letters that a command line names: by conditions, by numbers, or both.
 * @throws E_CLI_USAGE when it names none, or those of several applications; E_DLQ_NOT_FOUND
 */
export async function selectionOf(
  args: Arguments,
  db: Parameters<typeof getDeadLetter>[0],
): Promise<DeadLetterSelection> {
  const ids = args.positionals.map((text) => deadLetterId(text) as bigint)
  const app = args.text('app')
  if (app === undefined && ids.length === 0)
    throw usage('which dead letters? --app <name>, or their numbers', 'millrace dlq groups')
  let application: string | null = app ?? null
  if (app === undefined) {
    application = (await getDeadLetter(db, ids[0] as bigint)).application
    for (const id of ids.slice(1)) {
      const other = (await getDeadLetter(db, id)).application
      if (other !== application)
        throw usage(
          `dead letters ${String(ids[0])} and ${id} are of different applications, ${application ?? 'none'} and ${other ?? 'none'}: one at a time`,
        )
    }
  }
  const group = args.text('group')
  const found = {
    ids: ids.length === 0 ? undefined : ids,
    from: deadLetterId(args.text('from')),
    fingerprint: group === undefined ? undefined : groupOf(group),
    handler: args.text('handler'),
    stage: args.word('stage', ['decode', 'validate', 'prepare', 'apply', 'job']),
    topic: args.text('topic'),
    partition: args.whole('partition', 0, 1_000_000),
    since: args.time('since'),
    until: args.time('until'),
    parked: args.flag('parked') ? true : undefined,
  }
  const given = Object.entries(found).filter(([, value]) => value !== undefined)
  return { application, ...(Object.fromEntries(given) as Omit<DeadLetterSelection, 'application'>) }
}
