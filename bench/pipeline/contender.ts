import { performance } from 'node:perf_hooks'

/** What one run of one contender measured. */
export interface PipelineResult {
  /** From the first record that was handed over until the database says that no job is unfinished. */
  readonly finishedPerSecond: number
  /** From the start of the contender until its first record, in milliseconds. */
  readonly firstRecordMs: number
}

/** What the parent tells a contender. */
export interface PipelineTask {
  readonly databaseUrl: string
  readonly brokers: readonly string[]
  /** Topic of six partitions with `count` records of JSON: `{"n": 1, "text": "hello"}`. */
  readonly topic: string
  readonly count: number
}

/** Told by a contender what happens. */
export interface PipelineMarks {
  /** A record, or a batch of them, was handed over by the consumer. */
  onRecord(): void
  /** The handler of a job ran. */
  onJob(): void
}

/** A way from records to finished jobs, wrapped so that all are measured the same way. */
export interface PipelineContender {
  /** Makes its tables, and whatever else is not to be timed. */
  prepare(task: PipelineTask): Promise<void>
  /** Begins to consume and to work. */
  start(task: PipelineTask, marks: PipelineMarks): Promise<void>
  /** Jobs that are not finished, in the database. */
  unfinished(): Promise<number>
}

/** Runs `contender` on the task in the arguments and prints the result as a line of JSON; in a process of its own. */
export async function runPipeline(contender: PipelineContender): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '{}') as PipelineTask
  await contender.prepare(task)
  let firstAt = 0
  let handled = 0
  const all = Promise.withResolvers<void>()
  const began = performance.now()
  await contender.start(task, {
    onRecord() {
      if (firstAt === 0) firstAt = performance.now()
    },
    onJob() {
      handled += 1
      if (handled === task.count) all.resolve()
    },
  })
  await all.promise
  while ((await contender.unfinished()) > 0) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const ms = performance.now() - firstAt
  // All of them run at least once: a machine that stands still for long makes some of them run again.
  if (handled < task.count) throw new Error(`${handled} handlers ran for ${task.count} records`)
  if (handled > task.count) console.error(`${handled - task.count} handlers ran again`)
  const result: PipelineResult = {
    finishedPerSecond: (task.count / ms) * 1_000,
    firstRecordMs: firstAt - began,
  }
  console.log(JSON.stringify(result))
  process.exit(0)
}
