import {
  acceptOutbox,
  listOutbox,
  type AcceptedShard,
  type GoingOn,
  type OutboxShard,
} from '../../outbox/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { CliError, usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION, LIST_OPTIONS, ORDER_OPTIONS } from '../options.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'

const COLUMNS: readonly Column<OutboxShard>[] = [
  { name: 'shard', of: (s) => s.shard, align: 'right' },
  { name: 'state', of: (s) => (s.accepted ? 'accepted' : s.state) },
  { name: 'waiting', of: (s) => s.waiting, align: 'right' },
  { name: 'oldest', of: (s) => (s.oldestAt === null ? null : shownTime(s.oldestAt)) },
  { name: 'relayed', of: (s) => s.relayed, align: 'right' },
  { name: 'last', of: (s) => s.last, align: 'right' },
  { name: 'sent', of: (s) => s.sent, align: 'right' },
  { name: 'owner', of: (s) => s.owner, least: 8 },
  { name: 'reason', of: (s) => s.reason, least: 12 },
  { name: 'cursor', of: (s) => s.cursor, hidden: true },
]

const UNUSED =
  'Nothing was ever put into this outbox. It is for events that transactions publish into Kafka; the log in Postgres tables needs none.'

function isUnused({ state, waiting, relayed }: OutboxShard): boolean {
  return state !== 'halted' && waiting === 0 && relayed === null
}

/** `millrace outbox status` */
export const outboxStatusCommand: Command = {
  summary: 'what was published in transactions and is not in the log yet',
  options: { ...LIST_OPTIONS, ...DATABASE_OPTIONS },
  notes: [
    `Columns: ${COLUMNS.map(({ name }) => name).join(', ')}.`,
    'relayed: the last record known to be in the log. sent: of a stopped shard, the last waiting record that seems to have been sent before the database was restored.',
  ],
  examples: ['millrace outbox status', 'millrace outbox status --json'],
  run(context) {
    const columns = chooseColumns(context.args, COLUMNS)
    return withOperator(context, { config: 'if-there' }, async ({ operator }) => {
      const items = await listOutbox(operator.pool)
      await context.out.list(columns, { items, more: null }, (item) => item, 'no shards')
      if (items.every(isUnused)) context.out.note(UNUSED)
      return EXIT.ok
    })
  },
}

/** `millrace outbox accept` */
export const outboxAcceptCommand: Command = {
  summary: 'let stopped shards of the outbox go on',
  usage: '[shard…]',
  positionals: { min: 0, max: 16 },
  options: {
    all: { type: 'boolean', help: 'all that are stopped' },
    behind: {
      type: 'string',
      value: '<offset>|sent',
      help: 'send only what stands behind this record; sent: behind those that seem to have been sent before',
    },
    ...ORDER_OPTIONS,
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'A shard is stopped when the log and the database do not fit each other: the database was restored or copied, or the topic of the cursors was lost. From then on the records that the database has now are sent.',
    'It is also stopped in front of a record that the log refuses; the reason in outbox status names it. Without --behind it is tried again, after its topic was mended; with its offset it is left out, and never sent.',
    'Without --behind, all are sent that the database does not know to be in the log; after a restore some of them were sent before, and come twice, with the same event id.',
  ],
  examples: ['millrace outbox accept 0 --dry-run', 'millrace outbox accept --all --behind sent'],
  run(context) {
    const { args, out } = context
    const named = args.positionals.map(shardNumber)
    if (named.length > 0 === args.flag('all')) throw usage('which shards? Name them, or pass --all')
    const behind = args.text('behind')
    if (behind !== undefined && behind !== 'sent' && !/^\d{1,18}$/.test(behind))
      throw usage(`--behind: expected an offset or the word sent, got '${behind}'`)
    return withOperator(context, { writes: true }, async ({ operator }) => {
      const shards = await listOutbox(operator.pool)
      const stopped = shards.filter(({ state }) => state === 'halted')
      const chosen = args.flag('all')
        ? stopped
        : stopped.filter(({ shard }) => named.includes(shard))
      const missing = named.filter((shard) => !chosen.some((one) => one.shard === shard))
      if (missing.length > 0) {
        throw new CliError('E_CLI_NOT_FOUND', `not stopped: ${missing.join(', ')}`, {
          next: 'millrace outbox status',
        })
      }
      const asked = chosen.map(({ shard, sent }): AcceptedShard => {
        const from = behind === undefined ? null : behind === 'sent' ? sent : BigInt(behind)
        return { shard, behind: from }
      })
      const dryRun = args.flag('dry-run')
      const { core, pool, user } = operator
      const parts = { core, pool, user, reason: args.text('reason'), dryRun }
      const accepted = asked.length === 0 ? [] : await acceptOutbox(parts, asked)
      if (out.format === 'json') out.json({ dryRun, accepted })
      else out.note(`${dryRun ? 'would be accepted' : 'accepted'}: ${describe(accepted)}`)
      return EXIT.ok
    })
  },
}

function describe(accepted: readonly GoingOn[]): string {
  if (accepted.length === 0) return 'none is stopped'
  return accepted
    .map(({ shard, behind, leftOut }) =>
      behind === null
        ? `${shard}`
        : `${shard} behind ${behind} (${leftOut} record${leftOut === 1 ? ' is' : 's are'} left out)`,
    )
    .join(', ')
}

function shardNumber(text: string): number {
  if (/^\d{1,4}$/.test(text)) return Number(text)
  throw usage(`expected the number of a shard, got '${text}'`)
}
