import { listConsumers, type ConsumerSummary } from '../../consumer/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, LIST_OPTIONS } from '../options.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'

const COLUMNS: readonly Column<ConsumerSummary>[] = [
  { name: 'app', of: (c) => c.application },
  { name: 'topic', of: (c) => c.topic, least: 12 },
  { name: 'partition', of: (c) => c.partition, align: 'right' },
  { name: 'state', of: (c) => c.state },
  { name: 'position', of: (c) => c.position, align: 'right' },
  { name: 'end', of: (c) => c.end, align: 'right' },
  { name: 'lag', of: (c) => c.lag, align: 'right' },
  { name: 'owner', of: (c) => c.owner, least: 8 },
  { name: 'reason', of: (c) => c.reason, least: 12 },
  { name: 'topic-id', of: (c) => c.topicId, hidden: true },
  { name: 'owner-id', of: (c) => c.ownerId, hidden: true },
  { name: 'epoch', of: (c) => c.epoch, align: 'right', hidden: true },
  { name: 'generation', of: (c) => c.generation, align: 'right', hidden: true },
  { name: 'updated', of: (c) => shownTime(c.updatedAt), hidden: true },
]

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
    'Lag counts offsets, so holes count.',
  ],
  examples: ['millrace consumers list', 'millrace consumers list --app search --json'],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, COLUMNS)
    return withOperator(context, { config: 'if-there' }, async ({ operator }) => {
      const application = args.text('app')
      const items = await listConsumers(
        operator.pool,
        await operator.log(),
        application === undefined ? {} : { application },
      )
      const empty =
        application === undefined
          ? 'no positions. An application gets one per partition when it is started for the first time: millrace start'
          : `no positions of an application '${application}'. See all: millrace consumers list`
      await out.list(columns, { items, more: null }, (item) => item, empty)
      return EXIT.ok
    })
  },
}
