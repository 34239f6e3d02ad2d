import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

/** What one run of one contender measured, in milliseconds. */
export interface LatencyResult {
  readonly p50: number
  readonly p99: number
}

/** What the parent tells a contender. */
export interface LatencyTask {
  readonly databaseUrl: string
  readonly brokers: readonly string[]
  /** A topic of six partitions of this contender alone. */
  readonly topic: string
  /** Events to be measured, behind a tenth as many that warm up. */
  readonly count: number
}

/** A way from publishing to handling, wrapped so that all are measured the same way. */
export interface LatencyContender {
  /** Starts the handler, which tells what it was given; gives what publishes one event. */
  start(task: LatencyTask, onHandled: (n: number) => void): Promise<(n: number) => Promise<unknown>>
}

const PER_SECOND = 50

/** Publishes 50 events a second and prints how long each took until its handler ran, as a line of JSON. */
export async function runLatency(contender: LatencyContender): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '{}') as LatencyTask
  const warm = Math.ceil(task.count / 10)
  const all = task.count + warm
  const dueAt: number[] = []
  const took = new Map<number, number>()
  const done = Promise.withResolvers<void>()
  const publish = await contender.start(task, (n) => {
    if (!took.has(n)) took.set(n, performance.now() - (dueAt[n] as number))
    if (took.size === all) done.resolve()
  })
  // Until everybody has found their partitions.
  await sleep(5_000)
  const began = performance.now()
  const sent: Promise<unknown>[] = []
  for (let n = 0; n < all; n += 1) {
    const due = began + (n * 1_000) / PER_SECOND
    await sleep(Math.max(0, due - performance.now()))
    // From when it was due: a process that stands still is late for all that it should have sent meanwhile.
    dueAt[n] = due
    sent.push(publish(n))
  }
  await Promise.all(sent)
  await done.promise
  const measured = [...took].filter(([n]) => n >= warm).map(([, ms]) => ms)
  const sorted = measured.toSorted((a, b) => a - b)
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number
  const result: LatencyResult = { p50: at(0.5), p99: at(0.99) }
  console.log(JSON.stringify(result))
  process.exit(0)
}
