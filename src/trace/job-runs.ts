import type { AttemptFact, DeadLetterFact, JobFact } from './facts.ts'
import { waitOf, type Run, type Wait } from './node.ts'

/** When a job ran, and what it waited for in between. */
export interface JobRuns {
  /** Oldest first. */
  readonly runs: readonly Run[]
  readonly waits: readonly Wait[]
}

/**
 * A job's runs and waits from what is kept: attempts that did not complete it, and the times of the last one. Not every time
 * is kept, so of a wait before the last its reason is that of how it began. A snooze is only known while it is the last
 * thing that happened. `letters`: those of the job; they tell when it was given up, the last time, until somebody retried it.
 */
export function jobRuns(
  job: JobFact,
  attempts: readonly AttemptFact[],
  now: Date,
  letters: readonly DeadLetterFact[] = [],
): JobRuns {
  const known = attempts
    .filter(({ outcome }) => outcome !== 'late')
    .toSorted((a, b) => +(a.attemptedAt ?? a.finishedAt) - +(b.attemptedAt ?? b.finishedAt))
  const runs: Run[] = known.map((one) => ({
    attempt: one.attempt,
    from: one.attemptedAt ?? one.finishedAt,
    to: one.finishedAt,
    outcome: one.outcome,
    processId: one.processId,
    error: one.error === null ? null : `${one.error.code ?? one.error.class}: ${one.error.message}`,
  }))
  const last = lastRun(job, known)
  if (last !== undefined) runs.push(last)
  const late = attempts.filter(({ outcome }) => outcome === 'late')
  return {
    waits: waitsOf(job, runs, now, letters),
    runs: [
      ...runs,
      ...late.map(
        (one): Run => ({
          attempt: one.attempt,
          from: null,
          to: one.finishedAt,
          outcome: 'late',
          processId: one.processId,
          error: null,
        }),
      ),
    ],
  }
}

/** The run that is under way, or that ended the job without an error; it stands in the job itself. */
function lastRun(job: JobFact, known: readonly AttemptFact[]): Run | undefined {
  const { state, attempt, attemptedAt: from, processId } = job
  if (from === null || known.some(({ attemptedAt }) => +(attemptedAt ?? 0) === +from)) return
  const run = { attempt, from, processId, error: null }
  if (state === 'executing') return { ...run, to: null, outcome: 'running' }
  if (job.finishedAt === null) return
  if (state === 'completed') return { ...run, to: job.finishedAt, outcome: 'completed' }
  // Cancelled while it slept: the time of its last run is there, and not its end.
  const slept = isSnoozed(job) && state === 'cancelled'
  if (slept || (state !== 'discarded' && state !== 'cancelled')) return
  return { ...run, to: job.finishedAt, outcome: state }
}

function waitsOf(
  job: JobFact,
  runs: readonly Run[],
  now: Date,
  letters: readonly DeadLetterFact[],
): Wait[] {
  const waits: Wait[] = []
  let since = job.createdAt
  let before: Run | undefined
  for (const run of runs) {
    if (run.from === null) continue
    waits.push(...gap(job, before, since, run.from, run === runs.at(-1), now, letters))
    before = run
    since = run.to ?? now
  }
  const over = job.finishedAt !== null || job.state === 'executing'
  if (!over) waits.push(...gap(job, before, since, null, true, now, letters))
  return waits.filter(({ ms }) => ms > 0)
}

const GIVEN_UP = 'discarded, until somebody retried it'

/** What a job waited for from `from` on; `to`: null: it still does. `isLast`: its due time is that of this wait. */
function gap(
  job: JobFact,
  before: Run | undefined,
  from: Date,
  to: Date | null,
  isLast: boolean,
  now: Date,
  letters: readonly DeadLetterFact[],
): Wait[] {
  const end = to ?? now
  const due = isLast ? clamp(job.scheduledAt, from, end) : from
  const waits: Wait[] = []
  const wasRetried = letters.some(({ replays }) => replays > 0)
  const early = earlyReason(job, before, wasRetried)
  const begun = +(before?.from ?? from)
  const letter = letters.find(({ createdAt }) => +createdAt >= begun && +createdAt < +end)
  if (letter !== undefined) {
    const { state, createdAt, closedAt } = letter
    // Closed by somebody who retried the job, else nobody knows when that was.
    const retried = state === 'replayed' ? (closedAt ?? due) : isLast ? due : end
    const until = clamp(retried, from, end)
    // An attempt that ended on purpose leaves nothing but the letter.
    const since = before?.attempt === letter.attempts ? from : clamp(createdAt, from, until)
    return [
      waitOf(early.kind, early.reason, from, since, now),
      waitOf('hold', GIVEN_UP, since, until, now),
      waitOf('queue', lineReason(job), until, to, now),
    ]
  }
  // Of a job that ran more than once, when it was first due is not kept.
  const line =
    isLast || before !== undefined ? lineReason(job) : `${lineReason(job)}, or not due yet`
  // Between two runs whose due time is not kept any more, the whole wait is the back-off's.
  const split = isLast || before === undefined ? due : end
  const isAhead = to === null && isLast && +job.scheduledAt > +now && job.state !== 'available'
  if (isAhead) return [waitOf(early.kind, early.reason, from, null, now)]
  if (+split > +from) waits.push(waitOf(early.kind, early.reason, from, split, now))
  if (+end > +split || to === null) waits.push(waitOf('queue', line, split, to, now))
  return waits
}

/** `wasRetried`: it was discarded and retried before, and nobody knows when. */
function earlyReason(
  job: JobFact,
  before: Run | undefined,
  wasRetried: boolean,
): Pick<Wait, 'kind' | 'reason'> {
  switch (before?.outcome) {
    case 'failed':
    case 'timed_out':
      return {
        kind: 'retry',
        reason: `back-off after attempt ${before.attempt}${wasRetried ? `, or ${GIVEN_UP}` : ''}`,
      }
    case 'crashed':
    case 'lost':
      return { kind: 'retry', reason: 'taken back after its process died' }
    case 'interrupted':
      return { kind: 'retry', reason: 'put back when its process was stopped' }
    default:
      return isSnoozed(job)
        ? { kind: 'snooze', reason: `snoozed: ${job.error?.message ?? ''}`.replace(/: $/, '') }
        : { kind: 'scheduled', reason: 'not due yet' }
  }
}

function lineReason({ queue, suspect, state }: JobFact): string {
  if (state === 'suspended') return 'suspended'
  return suspect
    ? `in queue '${queue}', to be run alone since its process died`
    : `in line in queue '${queue}'`
}

/** Whether the last thing that happened to it was a snooze. */
export function isSnoozed({ error }: JobFact): boolean {
  return error?.name === 'Snooze'
}

function clamp(time: Date, from: Date, to: Date): Date {
  return +time < +from ? from : +time > +to ? to : time
}
