import { MOST_COUNTED, sampleDeadLetters, type GroupSample } from '../../dead-letter/queries.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { formatFacts, type Fact } from '../sections.ts'
import { formatTable, type Column } from '../table.ts'
import { shownTime } from '../times.ts'
import { GROUP_OPTION, groupOf, NO_GROUP, STATE_OPTION, stateOf } from './dlq-filter.ts'
import { originOf } from './dlq-list.ts'

const COLUMNS: readonly Column<GroupSample['samples'][number]>[] = [
  { name: 'sample', of: ({ why }) => why.join(',') },
  { name: 'id', of: ({ letter }) => letter.id, align: 'right' },
  { name: 'created', of: ({ letter }) => shownTime(letter.createdAt) },
  { name: 'app', of: ({ letter }) => letter.application },
  { name: 'origin', of: ({ letter }) => originOf(letter) ?? letter.jobId, least: 10 },
  { name: 'bytes', of: ({ bytes }) => bytes, align: 'right' },
  { name: 'attempts', of: ({ letter }) => letter.attempts, align: 'right' },
  { name: 'error', of: ({ letter: { error } }) => error.message, least: 16 },
]

/** `millrace dlq sample` */
export const dlqSampleCommand: Command = {
  summary: 'samples of a group, and what its dead letters have in common',
  options: {
    ...GROUP_OPTION,
    ...STATE_OPTION,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'Looks at up to 1000 dead letters, spread evenly. In common is what at least 90 % of them have.',
    'Places are written as `millrace dlq search --where` takes them.',
  ],
  examples: ['millrace dlq sample --group 00f1e2d3c4b5a697'],
  run(context) {
    const { args, out } = context
    const named = args.text('group')
    if (named === undefined)
      throw usage('which group? --group <fingerprint>', 'millrace dlq groups')
    const fingerprint = groupOf(named)
    const state = stateOf(args)
    return withOperator(context, {}, async ({ operator }) => {
      const { random } = operator.core
      const sample = await sampleDeadLetters(operator.pool, { fingerprint, state, random })
      if (out.format === 'json') {
        out.json({ fingerprint: fingerprint === '' ? null : fingerprint, state, ...sample })
        return EXIT.ok
      }
      out.text(aboutOf(fingerprint, state, sample))
      out.text('')
      out.table(COLUMNS, sample.samples)
      out.text('')
      if (sample.common.length === 0) out.note('they have no value of a field in common')
      // Each line is neutralized by itself: a field's name or value must not make lines of its own.
      for (const line of commonLines(sample, out.width)) out.text(line)
      const first = sample.samples[0]?.letter.id
      out.note(`next: millrace dlq get ${first ?? 'latest'}`)
      return EXIT.ok
    })
  },
}

function aboutOf(fingerprint: string, state: string, sample: GroupSample): string {
  const { count, looked, notJson, tooLarge, samples } = sample
  const error = samples[0]?.letter.error
  return formatFacts([
    ['group', fingerprint === '' ? NO_GROUP : fingerprint],
    [state, count >= MOST_COUNTED ? `${count} or more` : count],
    ['looked at', looked],
    ['not JSON', notJson === 0 ? null : notJson],
    ['too large', tooLarge === 0 ? null : tooLarge],
    ['handler', samples[0]?.letter.handler],
    ['stage', samples[0]?.letter.stage],
    ['error', error === undefined ? null : `${error.code ?? error.class}: ${error.message}`],
    ...(error?.causes ?? []).map(
      (cause): Fact => ['caused by', `${cause.code ?? cause.class}: ${cause.message}`],
    ),
    ['stack', error?.stack],
  ])
}

function commonLines({ common }: GroupSample, width: number | undefined): string[] {
  if (common.length === 0) return []
  return formatTable(
    [
      { name: 'in common', of: ({ field }) => field, least: 16 },
      { name: 'value', of: ({ value }) => value, least: 16 },
      { name: 'share', of: ({ share }) => `${Math.floor(share * 100)} %`, align: 'right' },
    ],
    common,
    { width },
  )
}
