import {
  changeReplay,
  getReplay,
  listReplays,
  type Replay,
  type ReplayChange,
} from '../../replay/queries.ts'
import { chooseColumns } from '../columns.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { usage } from '../errors.ts'
import { EXIT } from '../exit-codes.ts'
import {
  DATABASE_OPTIONS,
  JSON_OPTION,
  LIST_OPTIONS,
  ORDER_OPTIONS,
  PAGE_OPTIONS,
} from '../options.ts'
import { pageLimits, toPage } from '../page.ts'
import type { Column } from '../table.ts'
import { shownTime } from '../times.ts'
import { followReplay, progressOf, showReplay } from './follow-replay.ts'

const COLUMNS: readonly Column<Replay>[] = [
  { name: 'id', of: (r) => r.id, align: 'right' },
  { name: 'created', of: (r) => shownTime(r.createdAt) },
  { name: 'app', of: (r) => r.application },
  { name: 'of', of: (r) => (r.records === null ? 'dead letters' : r.records.topic), least: 8 },
  { name: 'kind', of: (r) => (r.dryRun ? 'dry run' : 'replay') },
  { name: 'state', of: (r) => r.state },
  { name: 'total', of: (r) => r.total, align: 'right' },
  { name: 'passed', of: (r) => r.passed, align: 'right' },
  { name: 'failed', of: (r) => r.failed, align: 'right' },
  { name: 'left-out', of: (r) => r.skipped, align: 'right' },
  { name: 'by', of: (r) => r.orderedBy, least: 6 },
  { name: 'note', of: (r) => r.note ?? r.reason, least: 10 },
]

/** `millrace replays list` */
export const replaysListCommand: Command = {
  summary: 'replays, newest first',
  options: {
    app: { type: 'string', value: '<name>', help: 'only of this application' },
    state: {
      type: 'string',
      value: '<state>',
      help: 'only running, paused, finished, stopped or aborted',
    },
    ...PAGE_OPTIONS,
    ...DATABASE_OPTIONS,
  },
  notes: [`Columns: ${COLUMNS.map(({ name }) => name).join(', ')}.`],
  examples: ['millrace replays list --state running'],
  run(context) {
    const { args, out } = context
    const columns = chooseColumns(args, COLUMNS)
    const limits = pageLimits(args)
    const filter = {
      application: args.text('app'),
      state: args.word('state', ['running', 'paused', 'finished', 'stopped', 'aborted']),
      before: replayId(args.text('before')),
    }
    return withOperator(context, {}, async ({ operator }) => {
      const given = await listReplays(operator.pool, { ...filter, limit: limits.asked })
      await out.list(
        columns,
        toPage(given, limits, ({ id }) => String(id)),
        (item) => item,
        'no replays. `millrace dlq replay` lets an application work through its dead letters again.',
      )
      return EXIT.ok
    })
  },
}

/** `millrace replays get` */
export const replaysGetCommand: Command = {
  summary: 'one replay: how far it is, and why dead letters did not pass',
  usage: '<number>',
  positionals: { min: 1, max: 1 },
  options: {
    wait: { type: 'boolean', help: 'show how it gets on until it rests' },
    ...JSON_OPTION,
    jsonl: { type: 'boolean', help: 'print lines of JSON' },
    ...DATABASE_OPTIONS,
  },
  examples: ['millrace replays get 3 --wait'],
  run(context) {
    const id = replayId(context.args.positionals[0]) as bigint
    return withOperator(context, {}, async ({ operator }) => {
      const replay = await getReplay(operator.pool, id)
      if (context.args.flag('wait')) return followReplay(context, operator, replay)
      await showReplay(context, operator, replay)
      return EXIT.ok
    })
  },
}

function changeCommand(change: ReplayChange, summary: string, note: string): Command {
  return {
    summary,
    usage: '<number>',
    positionals: { min: 1, max: 1 },
    options: { ...ORDER_OPTIONS, json: LIST_OPTIONS['json'] as never, ...DATABASE_OPTIONS },
    notes: [note],
    examples: [`millrace replays ${change} 3`],
    run(context) {
      const { args, out } = context
      const id = replayId(args.positionals[0]) as bigint
      return withOperator(context, { writes: true }, async ({ operator }) => {
        const dryRun = args.flag('dry-run')
        const replay = dryRun
          ? await getReplay(operator.pool, id)
          : await changeReplay(operator, id, change, { reason: args.text('reason') })
        if (out.format === 'json') out.json({ ...progressOf(replay), dryRun })
        out.note(
          dryRun
            ? `replay ${id} is ${replay.state}; nothing was done`
            : `replay ${id} is ${replay.state}`,
        )
        return EXIT.ok
      })
    },
  }
}

/** `millrace replays pause` */
export const replaysPauseCommand: Command = changeCommand(
  'pause',
  'hold a replay back',
  'A chunk that is under way is rolled back; nothing is committed once this has returned.',
)

/** `millrace replays resume` */
export const replaysResumeCommand: Command = changeCommand(
  'resume',
  'let a replay go on that was paused, or stopped by its limit',
  'One that was stopped after so many failures may have as many again; one stopped at a share goes on without that limit.',
)

/** `millrace replays abort` */
export const replaysAbortCommand: Command = changeCommand(
  'abort',
  'end a replay for good',
  'What it has handled stays handled; the rest stays open, for another replay.',
)

/** @throws E_CLI_USAGE when `text` is no number of a replay. */
function replayId(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,18}$/.test(text))
    throw usage(`expected the number of a replay, got '${text}'`, 'millrace replays list')
  return BigInt(text)
}
