import { knownPositions, listConsumers, type ConsumerSummary } from '../../consumer/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, LIST_OPTIONS } from '../options.ts'
import type { Column } from '../table.ts'
import { shownDuration, shownTime } from '../times.ts'

const COLUMNS: readonly Column<ConsumerSummary>[] = [
  { name: 'app', of: (c) => c.application },
  { name: 'topic', of: (c) => c.topic, least: 12 },
  { name: 'partition', of: (c) => c.partition, align: 'right' },
  { name: 'state', of: (c) => c.state },
  { name: 'position', of: (c) => c.position, align: 'right' },
  { name: 'end', of: (c) => c.end, align: 'right' },
  { name: 'lag', of: (c) => c.lag, align: 'right' },
  { name: 'behind', of: (c) => shownDuration(c.lagMs), align: 'right' },
  { name: 'owner', of: (c) => c.owner, least: 8 },
  { name: 'reason', of: (c) => c.reason, least: 12 },
  { name: 'do', of: (c) => c.next, hidden: true },
  { name: 'topic-id', of: (c) => c.topicId, hidden: true },
  { name: 'owner-id', of: (c) => c.ownerId, hidden: true },
  { name: 'epoch', of: (c) => c.epoch, align: 'right', hidden: true },
  { name: 'generation', of: (c) => c.generation, align: 'right', hidden: true },
  { name: 'updated', of: (c) => shownTime(c.updatedAt), hidden: true },
]

/** Halted partitions whose next command is said. */
const HALTED = 5

/** `millrace consumers list` */
export const consumersListCommand: Command = {
  summary: 'how far every application is in every partition',
  options: {
    app: { type: 'string', value: '<name>', help: 'only this application' },
    ...LIST_OPTIONS,
    ...DATABASE_OPTIONS,
  },
  notes: [
    `Columns: ${COLUMNS.map(({ name }) => name).join(', ')}.`,
    'Lag counts offsets, so holes count; `behind` is the age of the next record to read. `do` names the next command.',
  ],
  examples: ['millrace consumers list', 'millrace consumers list --app search --json'],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, COLUMNS)
    return withOperator(context, { config: 'if-there' }, async ({ operator }) => {
      const application = args.text('app')
      // Says what there is when there is no such application.
      if (application !== undefined) await knownPositions(operator.pool, { application })
      const log = await operator.log()
      const items = await listConsumers(operator.pool, log, { application, lagTimes: true })
      const empty =
        'no positions. An application gets one per partition when it is started for the first time: millrace start'
      await out.list(columns, { items, more: null }, (item) => item, empty)
      const halted = items.filter(({ state }) => state === 'halted')
      for (const { application: app, topic, partition, next } of halted.slice(0, HALTED))
        out.note(`${app} ${topic}/${partition} is halted. Try: ${next ?? ''}`)
      if (halted.length > HALTED) out.note(`and ${halted.length - HALTED} more; see --columns do`)
      return EXIT.ok
    })
  },
}
