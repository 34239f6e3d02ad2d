import { setTimeout as sleep } from 'node:timers/promises'

/** What one run of one contender measured. */
export interface MemoryResult {
  /** Most resident memory, in MiB. */
  readonly peakMiB: number
  /** Records handled meanwhile. */
  readonly handled: number
}

/** What the parent tells a contender. */
export interface MemoryTask {
  readonly databaseUrl: string
  readonly brokers: readonly string[]
  readonly topic: string
  readonly seconds: number
}

/** How long the handler takes for a record, in milliseconds. */
export const SLOW_MS = 2

/** Starts to consume and watches its own memory; prints the most it had, as a line of JSON. */
export async function runMemory(
  start: (task: MemoryTask, onHandled: () => void) => Promise<unknown>,
): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '{}') as MemoryTask
  let handled = 0
  let peak = 0
  await start(task, () => {
    handled += 1
  })
  for (let left = task.seconds * 20; left > 0; left -= 1) {
    peak = Math.max(peak, process.memoryUsage.rss())
    await sleep(50)
  }
  const result: MemoryResult = { peakMiB: peak / 1_048_576, handled }
  console.log(JSON.stringify(result))
  process.exit(0)
}
