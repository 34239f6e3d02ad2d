import { performance } from 'node:perf_hooks'

/** What one run of one contender measured, per second. */
export interface RunResult {
  readonly insertPerSecond: number
  readonly drainPerSecond: number
}

/** A job system, wrapped so that all are measured the same way. */
export interface Contender {
  /** Makes its tables, if they are missing. */
  prepare(): Promise<void>
  /** Most jobs of one call of {@link insert}: what is fastest for it. */
  readonly callJobs: number
  /** Inserts these jobs in one call. */
  insert(jobs: readonly BenchArgs[]): Promise<void>
  /** Begins to execute; `onJob` is called by every handler. */
  work(onJob: () => void): Promise<void>
  /** Jobs that are not finished, in the database. */
  unfinished(): Promise<number>
  close(): Promise<void>
}

/** The small JSON argument of every job. */
export interface BenchArgs {
  readonly n: number
  readonly text: string
}

/**
 * Inserts `count` jobs, then executes them all: from the call that begins the work until the database says that none is
 * unfinished. Prints the result as a line of JSON; to be run in a process of its own.
 */
export async function run(contender: Contender): Promise<void> {
  const count = Number(process.argv[3])
  await contender.prepare()
  const insertBegan = performance.now()
  for (let at = 0; at < count; at += contender.callJobs) {
    const length = Math.min(contender.callJobs, count - at)
    await contender.insert(Array.from({ length }, (_, i) => ({ n: at + i, text: 'hello' })))
  }
  const insertMs = performance.now() - insertBegan

  let handled = 0
  const all = Promise.withResolvers<void>()
  const drainBegan = performance.now()
  await contender.work(() => {
    handled += 1
    if (handled === count) all.resolve()
  })
  await all.promise
  while ((await contender.unfinished()) > 0) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const drainMs = performance.now() - drainBegan
  if (handled !== count) throw new Error(`${handled} handlers ran for ${count} jobs`)
  const result: RunResult = {
    insertPerSecond: (count / insertMs) * 1_000,
    drainPerSecond: (count / drainMs) * 1_000,
  }
  console.log(JSON.stringify(result))
  await contender.close()
  process.exit(0)
}

/** The database to use, as given by the parent. */
export function databaseUrl(): string {
  return process.argv[2] as string
}
