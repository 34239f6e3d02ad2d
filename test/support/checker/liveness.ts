import { laneOf, type Dumps } from './dumps.ts'
import { entriesOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I13: within the time stated, everything came to rest, and stays so: no lag, no backlog, no partition that is stopped, no
 * executing job without a live process, no replay that is still worked on.
 */
export function checkLiveness(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I13')
  const quiet = entriesOf(history, 'quiet').at(-1)
  note(quiet !== undefined, () => 'nobody waited for it to come to rest')
  note(
    quiet === undefined || (quiet.reached && quiet.afterMs <= quiet.limitMs),
    () => `not at rest after ${quiet?.afterMs} ms (limit ${quiet?.limitMs} ms): ${quiet?.left}`,
  )
  for (const position of dumps.positions) {
    const unread = dumps.records.filter(
      ({ topicId, partition, offset, until }) =>
        topicId === position.topicId &&
        partition === position.partition &&
        offset >= position.next &&
        until === undefined,
    )
    note(
      unread.length === 0,
      () =>
        `${laneOf(position)}: ${unread.length} records from ${unread[0]?.offset} on are not read`,
    )
    note(position.halted === null, () => `${laneOf(position)} is stopped: ${position.halted}`)
  }
  for (const { id, state } of dumps.replays) {
    note(state !== 'running', () => `replay ${id} is still running`)
  }
  for (const job of dumps.jobs) {
    note(job.finished, () => `job ${job.id} is still ${job.state}`)
    note(!job.orphaned, () => `job ${job.id} is executing in a process that is dead`)
  }
  return found
}
