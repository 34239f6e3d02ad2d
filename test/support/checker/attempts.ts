import type { Dumps, JobTransition } from './dumps.ts'
import { runOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/** What rounding and the time between two readings of one clock may cost, in milliseconds. */
const TOLERANCE_MS = 5

/**
 * I9: a job is executed at most `max_attempts` times, each claim is one more attempt than the one before unless that was
 * given back uncharged, crashes stay within their bound, and after a failed attempt the next is no earlier than promised
 * (database time throughout).
 */
export function checkAttempts(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I9')
  const { backoffMs } = runOf(history)
  for (const job of dumps.jobs) {
    const least = job.state === 'completed' || job.state === 'discarded' ? 1 : 0
    note(
      job.attempt >= least && job.attempt <= job.maxAttempts,
      () => `job ${job.id} is ${job.state} with attempt ${job.attempt} of ${job.maxAttempts}`,
    )
    note(
      job.crashes <= job.maxCrashes,
      () => `job ${job.id} crashed ${job.crashes} times of ${job.maxCrashes}`,
    )
  }
  const hot = dumps.jobTransitions
    .filter(({ table }) => table === 'job')
    .toSorted((a, b) => (a.seq < b.seq ? -1 : 1))
  for (const [id, changes] of Map.groupBy(hot, (change) => change.id)) {
    let failed: JobTransition | undefined
    for (const [index, now] of changes.entries()) {
      const before = changes[index - 1]
      if (now.from === 'executing' && now.to === 'retryable') {
        failed = now
        const least = promised(backoffMs[now.kind], now.attempt)
        const waitMs = now.scheduledAt - now.at
        note(
          waitMs >= least - TOLERANCE_MS,
          () =>
            `job ${id}: after attempt ${now.attempt} it waits ${waitMs} ms, promised are ${least} ms`,
        )
      }
      if (now.to !== 'executing' || now.from === 'executing') continue
      note(
        now.attempt >= 1 && now.attempt <= now.maxAttempts,
        () => `job ${id} was claimed for attempt ${now.attempt} of ${now.maxAttempts}`,
      )
      note(
        before === undefined || now.attempt === before.attempt + 1,
        () => `job ${id} was claimed for attempt ${now.attempt} after attempt ${before?.attempt}`,
      )
      const due = failed?.scheduledAt
      note(
        due === undefined || (now.attemptedAt ?? now.at) >= due - TOLERANCE_MS,
        () => `job ${id} was claimed at ${now.attemptedAt}, and was not due before ${due}`,
      )
      failed = undefined
    }
  }
  const lates = dumps.attempts.filter(({ outcome }) => outcome === 'late')
  for (const [token, rows] of Map.groupBy(lates, (row) => `${row.jobId} ${row.token}`)) {
    note(rows.length === 1, () => `attempt ${token} was noted as late ${rows.length} times`)
  }
  return found
}

function promised(waits: readonly number[] | undefined, attempt: number): number {
  return waits?.[attempt - 1] ?? waits?.at(-1) ?? 0
}
