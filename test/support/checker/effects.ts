import { placeOf, type Dumps } from './dumps.ts'
import { entriesOf, runOf, type HistoryEntry } from './history.ts'
import { collect, type Violation } from './verdict.ts'

/**
 * I4: of a kind that writes through its own transaction, a completed job has exactly one effect row, written by the very
 * attempt that completed it, and any other job none; a handler of records has at most one per record and generation.
 */
export function checkEffectsInside(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I4')
  const { transactionalKinds } = runOf(history)
  const ofJobs = Map.groupBy(
    dumps.effects.filter(({ source }) => source === 'job'),
    ({ jobId }) => jobId,
  )
  for (const job of dumps.jobs) {
    if (!transactionalKinds.includes(job.kind)) continue
    const effects = ofJobs.get(job.id) ?? []
    const wanted = job.state === 'completed' ? 1 : 0
    note(
      effects.length === wanted,
      () =>
        `job ${job.id} is ${job.state}, and has ${effects.length} effect rows, of attempts ${effects.map(({ attempt }) => attempt).join(', ')}`,
    )
    for (const { attempt } of wanted === 1 ? effects : []) {
      note(
        attempt === job.attempt,
        () =>
          `job ${job.id} was completed by attempt ${job.attempt}, its effect was written by attempt ${attempt}`,
      )
    }
  }
  const known = new Set(dumps.jobs.map(({ id }) => id))
  for (const [jobId, effects] of ofJobs) {
    note(
      jobId !== null && known.has(jobId),
      () => `${effects.length} effect rows of job ${jobId}, which is nowhere`,
    )
  }
  const ofRecords = Map.groupBy(
    dumps.effects.filter(({ source }) => source === 'record'),
    (effect) => `${effect.name} of ${placeOf(effect)} in generation ${effect.generation}`,
  )
  for (const [what, effects] of ofRecords) {
    note(effects.length === 1, () => `${what} has ${effects.length} effect rows`)
  }
  return found
}

/**
 * I5: a completed job of a kind that calls the outside has called at least once, always with one key, which is nobody
 * else's; no key was applied twice.
 */
export function checkEffectsOutside(
  history: readonly HistoryEntry[],
  dumps: Dumps,
): readonly Violation[] {
  const { found, note } = collect('I5')
  const { callingKinds, restored = false } = runOf(history)
  const calls = entriesOf(history, 'effect')
  const known = new Set(dumps.jobs.map(({ id }) => id))
  const byJob = Map.groupBy(calls, ({ jobId }) => jobId)
  for (const job of dumps.jobs) {
    if (!callingKinds.includes(job.kind) || job.state !== 'completed') continue
    note(byJob.has(job.id), () => `job ${job.id} is completed and has never called`)
  }
  for (const [jobId, made] of byJob) {
    const keys = new Set(made.map(({ idempotencyKey }) => idempotencyKey))
    note(keys.size === 1, () => `job ${jobId} called with ${keys.size} keys`)
  }
  for (const [key, made] of Map.groupBy(calls, ({ idempotencyKey }) => idempotencyKey)) {
    // The database has forgotten some; what they did outside stays, and those that take their place find it done.
    const jobs = new Set(made.map(({ jobId }) => jobId).filter((id) => !restored || known.has(id)))
    note(jobs.size <= 1, () => `key ${key} was used by the jobs ${[...jobs].join(', ')}`)
    const applied = made.filter((call) => call.applied).length
    note(applied === 1, () => `key ${key} was applied ${applied} times`)
  }
  return found
}
