import {
  getDeadLetter,
  listDeadLetters,
  listEdits,
  type DeadLetter,
  type KeptEdit,
} from '../../dead-letter/queries.ts'
import { outcomesOf, type LetterOutcome } from '../../replay/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { withOperator } from '../connect.ts'
import { CliError } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { bytesToJson, bytesToText, parseLossless } from '../json-values.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { formatFacts, type Fact } from '../sections.ts'
import { shownTime } from '../times.ts'
import { deadLetterId, NO_GROUP } from './dlq-filter.ts'
import { originOf } from './dlq-list.ts'

/** `millrace dlq get` */
export const dlqGetCommand: Command = {
  summary: 'one dead letter with its origin, error and bytes',
  usage: '<id>',
  positionals: { min: 1, max: 1 },
  options: {
    raw: {
      type: 'string',
      value: 'value|key',
      help: 'write exactly these bytes to stdout, and nothing else',
    },
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    '`latest` as the id is the newest that is open.',
    'JSON has bytes as {"base64", "text"}; text only where they are UTF-8.',
  ],
  examples: ['millrace dlq get latest', 'millrace dlq get 17 --raw value > value.bin'],
  run(context) {
    const { args, out } = context
    const asked = args.positionals[0] as string
    const given = asked === 'latest' ? undefined : deadLetterId(asked)
    const raw = args.word('raw', ['value', 'key'])
    return withOperator(context, {}, async ({ operator }) => {
      const letter = await getDeadLetter(operator.pool, given ?? (await latest(operator.pool)))
      if (raw !== undefined) writeRaw(context, letter, raw)
      else {
        const edits = await listEdits(operator.pool, letter.id)
        const outcomes = await outcomesOf(operator.pool, letter.id)
        if (out.format === 'json') out.json(toJson(letter, edits, outcomes))
        else out.text(toText(letter, edits, outcomes))
      }
      return EXIT.ok
    })
  },
}

/** @throws E_CLI_NOT_FOUND when none is open. */
async function latest(db: Parameters<typeof listDeadLetters>[0]): Promise<bigint> {
  const [newest] = await listDeadLetters(db, { state: 'open', limit: 1 })
  if (newest !== undefined) return newest.id
  throw new CliError('E_CLI_NOT_FOUND', 'there is no open dead letter', {
    next: 'millrace dlq list --state all',
  })
}

function writeRaw({ out }: CommandContext, letter: DeadLetter, part: 'value' | 'key'): void {
  const bytes = letter[part]
  if (bytes === null) {
    throw new CliError('E_CLI_NOT_FOUND', `dead letter ${letter.id} has no ${part}`, {
      next: `millrace dlq get ${letter.id}`,
    })
  }
  if (out.toTerminal) {
    throw new CliError(
      'E_CLI_NOT_CONFIRMED',
      'raw bytes are not written to a terminal, which might act on them',
      {
        next: `millrace dlq get ${letter.id} --raw ${part} > ${part}.bin`,
      },
    )
  }
  out.raw(bytes)
}

function toJson(
  letter: DeadLetter,
  edits: readonly KeptEdit[],
  outcomes: readonly LetterOutcome[],
): unknown {
  const { key, value, headers, argsJson, ...rest } = letter
  return {
    ...rest,
    key: bytesToJson(key),
    value: bytesToJson(value),
    headers: headers.map(([name, header]) => ({ name, value: bytesToJson(header) })),
    args: argsJson === null ? null : parseLossless(argsJson),
    edits: edits.map(({ value: edited, ...edit }) => ({ ...edit, value: bytesToJson(edited) })),
    outcomes,
  }
}

function toText(
  letter: DeadLetter,
  edits: readonly KeptEdit[],
  outcomes: readonly LetterOutcome[],
): string {
  const { error, trace, headers } = letter
  const fromRecord = letter.topic !== null
  const facts: Fact[] = [
    ['dead letter', letter.id],
    ['state', letter.state],
    ['created', shownTime(letter.createdAt)],
    ['app', letter.application],
    ['handler', letter.handler],
    ['stage', letter.stage],
    ['attempts', letter.attempts],
    ['failed replays', letter.replays === 0 ? null : letter.replays],
    ['failed last', shownTime(letter.failedAt)],
    ['closed', shownTime(letter.closedAt)],
    ['exported', letter.exported],
    ['code version', letter.codeVersion],
    ['group', letter.fingerprint ?? NO_GROUP],
    ['origin', originOf(letter)],
    ['cluster', letter.cluster],
    ['producer', letter.producer],
    ['topic id', letter.topicId],
    ['taken from', takenFrom(letter)],
    ['generation', letter.generation],
    ['record time', shownTime(letter.recordTimestamp)],
    ['event', eventOf(letter)],
    ['event id', letter.eventId],
    ['job', letter.jobId === null ? null : `${letter.kind ?? ''} ${letter.jobId}`],
    ['args', letter.argsJson],
    ['correlation', trace.correlationId],
    ['causation', trace.causationId],
    ['traceparent', trace.traceparent],
    ['error', `${error.code ?? error.class}: ${error.message}`],
    ...(error.causes ?? []).map(
      (cause): Fact => ['caused by', `${cause.code ?? cause.class}: ${cause.message}`],
    ),
    ['stack', error.stack],
    ...headers.map(([name, value]): Fact => [`header ${name}`, bytesToText(value, 500)]),
    ...(fromRecord
      ? ([
          ['key', bytesToText(letter.key, 500)],
          ['value', bytesToText(letter.value)],
        ] as const)
      : []),
    ...edits.map(
      ({ revision, value, editedBy, reason, editedAt }): Fact => [
        `edit ${revision}`,
        `${shownTime(editedAt) ?? ''} by ${editedBy}${reason === null ? '' : `: ${reason}`}\n${bytesToText(value) ?? '(no value)'}`,
      ],
    ),
    ...outcomes.map(
      ({ replay, dryRun, outcome, error, at }): Fact => [
        `replay ${replay}`,
        `${shownTime(at) ?? ''} ${outcome}${dryRun ? ' (dry run)' : ''}${error === null ? '' : `: ${error.message}`}`,
      ],
    ),
  ]
  return formatFacts(facts)
}

function takenFrom({ trace: { takenFrom: place } }: DeadLetter): string | null {
  return place === undefined ? null : `${place.topic}/${place.partition}@${place.offset}`
}

function eventOf({ eventType, eventVersion }: DeadLetter): string | null {
  if (eventType === null) return null
  return eventVersion === null ? eventType : `${eventType} version ${eventVersion}`
}
