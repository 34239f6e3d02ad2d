import { LettersRun } from './letters-run.ts'
import { RecordsRun } from './records-run.ts'
import type { ReplayRunOptions } from './replay-work.ts'

/**
 * Works through a replay until nothing is left, its limits end it, or `signal` is aborted.
 * @throws E_CONSUMER_NOT_OWNER when it is somebody else's, or held; the signal's reason.
 */
export async function runReplay(options: ReplayRunOptions, signal: AbortSignal): Promise<void> {
  const Run = options.replay.records === null ? LettersRun : RecordsRun
  await new Run(options, signal).run()
}
