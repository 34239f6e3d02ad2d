import type { Operator } from '../../app/operator.ts'
import {
  getReplay,
  replayFailures,
  type Replay,
  type ReplayFailures,
} from '../../replay/queries.ts'
import type { CommandContext } from '../command.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { safeLine } from '../safe-text.ts'

const LOOK_MS = 250
/** Without a terminal, a line a second is told; nobody taking it up is told after three. */
const LINE_MS = 1_000
const UNOWNED_MS = 3_000
const BAR_CELLS = 24

/**
 * Shows how a replay gets on until it rests: a bar in a terminal, a line of JSON a second without. Ctrl-C ends the looking,
 * not the replay.
 */
export async function followReplay(
  context: CommandContext,
  operator: Operator,
  ordered: Replay,
): Promise<ExitCode> {
  const { out, core } = context
  const { first: interrupted } = context.interrupts()
  const began = core.clock.monotonicMs()
  let told = 0
  let warned = false
  let replay = ordered
  while (replay.state === 'running' && !interrupted.aborted) {
    await core.clock.sleep(LOOK_MS, { signal: interrupted }).catch(() => {})
    replay = await getReplay(operator.pool, replay.id)
    const now = core.clock.monotonicMs()
    if (
      replay.owner === null &&
      replay.state === 'running' &&
      now - began > UNOWNED_MS &&
      !warned
    ) {
      warned = true
      out.note(
        `no process that runs ${replay.application ?? 'jobs'} has taken replay ${replay.id} up yet; it begins when one does`,
      )
    }
    if (out.format === 'json') continue
    if (out.toTerminal && out.format === 'text') {
      out.error(`\r\u001b[2K${safeLine(barOf(replay))}`)
    } else if (now - told >= LINE_MS && replay.state === 'running') {
      told = now
      await out.jsonl(progressOf(replay))
    }
  }
  if (out.toTerminal && out.format === 'text') out.error('\r\u001b[2K')
  if (replay.state === 'running') {
    out.note(
      `replay ${replay.id} goes on without you: millrace replays get|pause|abort ${replay.id}`,
    )
    return EXIT.interrupted
  }
  await showReplay(context, operator, replay)
  return replay.failed > 0n || replay.state !== 'finished' ? EXIT.partial : EXIT.ok
}

/** What became of a replay, and why dead letters did not pass. */
export async function showReplay(
  { out }: CommandContext,
  operator: Operator,
  replay: Replay,
): Promise<void> {
  const failures = await replayFailures(operator.pool, replay.id)
  if (out.format === 'json') out.json({ ...replay, failures })
  else if (!out.toTerminal || out.format === 'jsonl')
    await out.jsonl({ ...progressOf(replay), failures })
  else out.text(summaryOf(replay, failures))
  if (replay.state === 'paused' || replay.state === 'stopped')
    out.note(
      `go on: millrace replays resume ${replay.id} · give up: millrace replays abort ${replay.id}`,
    )
}

/** What became of a replay, in words. */
export function summaryOf(replay: Replay, failures: readonly ReplayFailures[]): string {
  const { id, state, note, dryRun, passed, failed, skipped, parked, total } = replay
  const would = dryRun ? 'would ' : ''
  const lines = [
    `replay ${id} ${dryRun ? '(dry run) ' : ''}is ${state}${note === null ? '' : `: ${note}`}`,
    `  ${passed} of ${total} ${would}pass${dryRun ? '' : 'ed'}, ${failed} ${would}fail${dryRun ? '' : 'ed again'}${parked > 0n ? `, of which ${parked} are parked` : ''}${skipped > 0n ? `, ${skipped} were left out` : ''}`,
  ]
  for (const { count, error, example } of failures)
    lines.push(
      `  ${count} × ${error.code ?? error.class}: ${error.message.slice(0, 200)} (${example})`,
    )
  return lines.join('\n')
}

/** A replay as a line of progress. */
export function progressOf(replay: Replay): object {
  const { id, application, dryRun, state, note, total, passed, failed, skipped, parked } = replay
  return { replay: id, application, dryRun, state, note, total, passed, failed, skipped, parked }
}

function barOf({ id, total, passed, failed, skipped, note, state }: Replay): string {
  const done = passed + failed + skipped
  const share = total === 0n ? 1 : Math.min(1, Number(done) / Number(total))
  const cells = Math.round(share * BAR_CELLS)
  const bar = `${'█'.repeat(cells)}${'░'.repeat(BAR_CELLS - cells)}`
  return `replay ${id} ${bar} ${done}/${total} · ${passed} passed · ${failed} failed${state === 'running' ? '' : ` · ${state}`}${note === null ? '' : ` · ${note}`}`
}
