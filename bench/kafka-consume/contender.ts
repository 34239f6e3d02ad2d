import { performance } from 'node:perf_hooks'

/** What a contender is to read: all of a topic, from its beginning. */
export interface ConsumeTask {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly partitions: number
  readonly count: number
}

/** What one run of one contender measured. */
export interface ConsumeResult {
  /** From the first record to the last. */
  readonly recordsPerSecond: number
  /** From the beginning until the first record is there, in milliseconds. */
  readonly firstRecordMs: number
  /** Processor time, user and system, in milliseconds. */
  readonly cpuMs: number
  readonly peakRssMb: number
}

/** Called with the value of every record. */
export type OnRecord = (value: Uint8Array | null) => void

/**
 * Runs a contender until it has given every record, and prints the result as a line of JSON; to be run in a process of its
 * own.
 */
export async function run(
  consume: (task: ConsumeTask, onRecord: OnRecord) => Promise<void>,
): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '') as ConsumeTask
  const all = Promise.withResolvers<void>()
  const began = performance.now()
  const cpuBefore = process.cpuUsage()
  let first = 0
  let last = 0
  let seen = 0
  let bytes = 0
  await Promise.race([
    all.promise,
    consume(task, (value) => {
      if (seen === 0) first = performance.now()
      seen += 1
      bytes += value?.length ?? 0
      if (seen === task.count) {
        last = performance.now()
        all.resolve()
      }
    }).then(() => all.promise),
  ])
  if (bytes < task.count) throw new Error('records without values')
  const { user, system } = process.cpuUsage(cpuBefore)
  const result: ConsumeResult = {
    recordsPerSecond: (task.count / (last - first)) * 1_000,
    firstRecordMs: first - began,
    cpuMs: (user + system) / 1_000,
    peakRssMb: process.resourceUsage().maxRSS / 1_024,
  }
  console.log(JSON.stringify(result))
  process.exit(0)
}
