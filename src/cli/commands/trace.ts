import { trace, type Timeline, type TraceMemory, type TraceOptions } from '../../trace/queries.ts'
import type { Command, CommandContext } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { traceToText } from '../trace-text.ts'

/** How often a trace that is watched is looked at, in milliseconds. */
const WATCH_MS = 1_000

/** `millrace trace` */
export const traceCommand: Command = {
  summary: 'what an event, job or dead letter led to, and what it waited for',
  usage: '<event id | job id | dead letter number | topic/partition/offset>',
  positionals: { min: 1, max: 1 },
  options: {
    watch: { type: 'boolean', help: 'look again every second, until everything is finished' },
    depth: { type: 'string', value: '<n>', help: 'steps from the beginning (default 20, 1 … 100)' },
    width: {
      type: 'string',
      value: '<n>',
      help: 'things of one kind below one thing (default 5, 1 … 1000); the rest is counted',
    },
    limit: {
      type: 'string',
      short: 'n',
      value: '<n>',
      help: 'events, applications and jobs in all (default 400, 10 … 5000)',
    },
    ...JSON_OPTION,
    ...DATABASE_OPTIONS,
  },
  notes: [
    'Everything that began with the same event or job is shown; ◀ marks what was asked for. Values and args are not shown.',
    'Where there are many, what is not finished or went wrong is shown first, with what leads to it.',
    'What a handler did outside is shown when it said so: ctx.effect(name, details).',
    '--json --watch prints a line of JSON for every change.',
  ],
  examples: [
    'millrace trace 01a205a0-d634-7000-955f-4261d11b89c8',
    'millrace trace orders/3/1174 --watch',
    'millrace trace 17 --json | jq \'.nodes[] | select(.outcome == "failed")\'',
  ],
  run: runTrace,
}

async function runTrace(context: CommandContext): Promise<ExitCode> {
  const { args, out, core } = context
  const asked = args.positionals[0] as string
  const watch = args.flag('watch')
  const first = watch ? context.interrupts().first : undefined
  const memory: TraceMemory = new Map()
  const options = {
    ...optionsOf(context),
    memory,
    ...(first === undefined ? {} : { signal: first }),
  }
  return withOperator(context, { config: 'if-there' }, async ({ operator }) => {
    let shown: string | undefined
    for (;;) {
      const timeline = await trace(operator, asked, options).catch((error: unknown) => {
        // Whatever it failed with then: it is no longer wanted.
        if (first?.aborted === true) return undefined
        throw error
      })
      if (timeline === undefined) return EXIT.interrupted
      const mark = markOf(timeline)
      if (mark !== shown || (out.format === 'text' && out.toTerminal)) {
        await show(context, timeline, watch, shown === undefined)
      }
      shown = mark
      if (!watch || timeline.finishedAt !== null || out.closed) return EXIT.ok
      // Rejects when it is aborted: that ends the wait, and the loop.
      await core.clock.sleep(WATCH_MS, first === undefined ? {} : { signal: first }).catch(() => {})
      if (first?.aborted === true) return EXIT.interrupted
    }
  })
}

function optionsOf({ args }: CommandContext): TraceOptions {
  const depth = args.whole('depth', 1, 100)
  const width = args.whole('width', 1, 1_000)
  const nodes = args.whole('limit', 10, 5_000)
  return {
    ...(depth === undefined ? {} : { depth }),
    ...(width === undefined ? {} : { width }),
    ...(nodes === undefined ? {} : { nodes }),
  }
}

/** What a timeline says without the time that goes by. */
function markOf({ nodes, branches }: Timeline): string {
  return JSON.stringify([
    branches,
    nodes.map(({ id, state, runs, replays, waits, count }) => [
      id,
      state,
      runs.length,
      replays?.length,
      waits.map(({ reason }) => reason),
      count,
    ]),
  ])
}

async function show(
  { out }: CommandContext,
  timeline: Timeline,
  watch: boolean,
  isFirst: boolean,
): Promise<void> {
  if (out.format !== 'text') {
    if (watch) await out.jsonl(timeline)
    else out.json(timeline)
    return
  }
  const text = traceToText(timeline, {
    width: out.width,
    dim: (line) => out.style('dim', line),
    good: (line) => out.style('green', line),
    bad: (line) => out.style('red', line),
    busy: (line) => out.style('yellow', line),
  })
  // A terminal shows it in place; elsewhere each state follows the last one.
  if (watch && out.toTerminal) out.styled(`${CLEAR}${text}`)
  else out.styled(isFirst ? text : `\n${text}`)
}

/** To the upper left, and everything cleared. */
const CLEAR = '\u001b[H\u001b[2J'
