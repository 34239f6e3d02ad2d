import {
  durationText,
  type Run,
  type Timeline,
  type TracedReplay,
  type TraceNode,
  type Wait,
} from '../trace/queries.ts'
import { fitText, safeJson, safeLine } from './safe-text.ts'

/** Waits shorter than this are not worth a line of their own. */
const LONG_MS = 1_000
/** Longest details of an effect, in characters. */
const DETAILS_LENGTH = 200

/** How lines are made to stand out; each gets text that is safe already. */
export interface TraceStyles {
  readonly width: number | undefined
  dim(text: string): string
  good(text: string): string
  bad(text: string): string
  busy(text: string): string
}

/** A timeline as lines, without control characters but those of the styles. */
export function traceToText(timeline: Timeline, styles: TraceStyles): string {
  const lines = [...header(timeline), '']
  const cut = (text: string): string =>
    styles.width === undefined ? text : fitText(text, styles.width)
  const { nodes, startedAt } = timeline
  const times = nodes.map(({ at }) => `+${durationText(Math.max(0, +at - +(startedAt ?? at)))}`)
  const column = Math.max(0, ...times.map((text) => text.length))
  const branches = branchLines(nodes)
  const text = lines.map((line) => cut(safeLine(line)))
  for (const [index, node] of nodes.entries()) {
    const { first, rest } = branches[index] as BranchLines
    const time = (times[index] ?? '').padStart(column)
    text.push(colored(cut(safeLine(`${time}  ${first}${nodeLine(node)}`)), node, styles))
    for (const line of storyOf(node)) {
      text.push(styles.dim(cut(safeLine(`${' '.repeat(column)}  ${rest}${line}`))))
    }
  }
  for (const note of timeline.notes) text.push('', styles.dim(safeLine(`note: ${note}`)))
  return text.join('\n')
}

function header(timeline: Timeline): string[] {
  const { correlationId, startedAt, finishedAt, totalMs, longestWait, headline } = timeline
  const time = startedAt === null ? '' : ` · began ${startedAt.toISOString()}`
  const lasted = durationText(totalMs)
  const lines = [
    `trace ${correlationId}${time}`,
    `${finishedAt === null ? `open for ${lasted}` : `finished after ${lasted}`} · ${headline}`,
  ]
  if (longestWait !== null) {
    const { ms, reason, of } = longestWait
    const label = timeline.nodes.find(({ id }) => id === of)?.label ?? of
    lines.push(`longest wait ${durationText(ms)}: ${label}, ${reason}`)
  }
  return lines
}

interface BranchLines {
  readonly first: string
  /** For further lines about the same thing. */
  readonly rest: string
}

/** The strokes before each node. Nodes are in the order of a tree. */
function branchLines(nodes: readonly TraceNode[]): BranchLines[] {
  const children = Map.groupBy(nodes, ({ parent }) => parent ?? '')
  const lastOf = new Map([...children].map(([parent, some]) => [parent, some.at(-1)]))
  const prefixes = new Map<string, string>()
  return nodes.map((node) => {
    const isRoot = node.parent === null
    const above = node.parent === null ? '' : (prefixes.get(node.parent) ?? '')
    const isLast = lastOf.get(node.parent ?? '') === node
    const own = isRoot ? '' : `${above}${isLast ? '   ' : '│  '}`
    prefixes.set(node.id, own)
    const below = children.has(node.id) ? '│  ' : '   '
    return { first: isRoot ? '' : `${above}${isLast ? '└─ ' : '├─ '}`, rest: `${own}${below}` }
  })
}

function nodeLine(node: TraceNode): string {
  const parts = [partsOf(node), ...node.notes].flat().filter((part) => part !== '')
  return `${parts.join(' · ')}${node.asked ? '  ◀' : ''}`
}

function partsOf(node: TraceNode): string[] {
  const { label, state, ref, ms } = node
  switch (node.type) {
    case 'event':
      return [
        `event ${label}`,
        ref.offset === undefined
          ? state
          : `${ref.topic ?? ''}/${ref.partition ?? ''}/${ref.offset}`,
        ...(ref.key == null ? [] : [`key ${ref.key}`]),
        `id ${ref.eventId ?? ''}`,
      ]
    case 'application':
      return [
        `${label}: ${state}${ms === null ? '' : ` ${node.endedAt === null ? 'for' : 'after'} ${durationText(ms)}`}`,
      ]
    case 'job':
      return [
        `job ${label}: ${stateOf(node)}`,
        ...(hasStory(node) ? [] : [shortStory(node)]),
        `id ${ref.jobId ?? ''}`,
      ]
    case 'effect': {
      const said = node.details === undefined ? '' : ` ${safeJson(node.details)}`
      const which = ref.attempt === undefined ? '' : ` (attempt ${ref.attempt})`
      return [`effect ${label}${fitText(safeLine(said), DETAILS_LENGTH)}${which}`]
    }
    case 'dead-letter':
      return [`${label}: ${stateOf(node)}`]
    case 'more':
      return [moreText(node)]
  }
}

function stateOf({ state, ms, endedAt }: TraceNode): string {
  return ms === null ? state : `${state} ${endedAt === null ? 'for' : 'after'} ${durationText(ms)}`
}

const GROUPED = new Intl.NumberFormat('en-US')

function moreText({ count = 0, states = {}, label, state }: TraceNode): string {
  const counted = Object.entries(states)
    .map(([name, n]) => `${GROUPED.format(n)} ${name}`)
    .join(', ')
  const what = state === 'deep' ? 'deeper than is shown' : 'more like this'
  return `+ ${GROUPED.format(count)} ${what}: ${label} (${counted})`
}

/** Whether a job is worth lines of its own. */
function hasStory({ runs, waits }: TraceNode): boolean {
  return (
    runs.length > 1 ||
    runs.some(({ outcome }) => outcome !== 'completed') ||
    waits.some(({ ms }) => ms >= LONG_MS)
  )
}

function shortStory({ runs, waits }: TraceNode): string {
  const waited = waits.reduce((sum, { ms }) => sum + ms, 0)
  const ran = runs.reduce((sum, run) => sum + lengthOf(run), 0)
  return runs.length === 0
    ? `waits ${durationText(waited)}`
    : `waited ${durationText(waited)}, ran ${durationText(ran)}`
}

function lengthOf({ from, to }: Run): number {
  return from === null || to === null ? 0 : Math.max(0, +to - +from)
}

function storyOf(node: TraceNode): string[] {
  if (node.replays !== undefined) return node.replays.map((replay) => replayText(node, replay))
  if (node.type !== 'application' && node.type !== 'event' && !hasStory(node)) return []
  const lines = [
    ...node.waits
      .filter(({ ms, to }) => to === null || ms >= LONG_MS || node.type === 'job')
      .map((wait) => ({ at: +wait.from, text: waitText(wait) })),
    ...node.runs.map((run) => ({ at: +(run.from ?? run.to ?? 0), text: runText(run) })),
  ]
  return lines.toSorted((a, b) => a.at - b.at).map(({ text }) => text)
}

function waitText({ ms, to, reason }: Wait): string {
  return `${to === null ? 'waits, for' : 'waited'} ${durationText(ms)}${to === null ? ' so far' : ''}: ${reason}`
}

const OUTCOMES: Readonly<Record<Run['outcome'], string>> = {
  running: 'is running',
  completed: 'completed the job',
  failed: 'failed',
  timed_out: 'timed out',
  crashed: 'lost: its process died while it ran',
  lost: 'lost: its process died while it held the job',
  interrupted: 'interrupted: its process was stopped',
  late: 'came too late: the job had been taken back',
  discarded: 'discarded the job',
  cancelled: 'cancelled the job',
}

function runText(run: Run): string {
  const { attempt, outcome, error, to, processId } = run
  const took = to === null || run.from === null ? '' : ` after ${durationText(lengthOf(run))}`
  const who = processId === null ? '' : ` (process ${processId})`
  return `attempt ${attempt} ${OUTCOMES[outcome]}${took}${error === null ? '' : `: ${error}`}${who}`
}

const REPLAYED: Readonly<Record<TracedReplay['outcome'], string>> = {
  passed: 'passed',
  failed: 'failed',
  skipped: 'skipped it',
  'not-run': 'did not try it',
}

function replayText({ at }: TraceNode, told: TracedReplay): string {
  const { dryRun, replay, by, outcome, error } = told
  const after = +told.at - +at
  // A job may be set aside again after a replay has given it back.
  const when = after < 0 ? 'before it was set aside again' : `after ${durationText(after)}`
  const why = error === null ? '' : `: ${error}`
  return `${dryRun ? 'dry run' : 'replay'} ${replay} by ${by} ${REPLAYED[outcome]} ${when}${why}`
}

function colored(text: string, { outcome }: TraceNode, styles: TraceStyles): string {
  switch (outcome) {
    case 'done':
      return styles.good(text)
    case 'failed':
      return styles.bad(text)
    case 'waiting':
    case 'running':
    case 'retrying':
      return styles.busy(text)
    case 'none':
      return text
  }
}
