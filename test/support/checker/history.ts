import { appendFileSync, readFileSync } from 'node:fs'

/** What ought to become of a record for one handler. */
export type Disposition = 'jobs' | 'done' | 'filtered' | 'dead'

/** First line of a history: which run this is, and what holds in it. */
export interface RunEntry {
  readonly entry: 'run'
  readonly name: string
  readonly seed: number
  readonly application: string
  /** Handlers that write one effect row per record, and in whose order of keys that happens. */
  readonly orderedHandlers: readonly string[]
  /** Handlers that handle an event once, wherever its copies stand. Default none. */
  readonly onceHandlers?: readonly string[]
  /** Kinds of jobs that write one effect row through their own transaction. */
  readonly transactionalKinds: readonly string[]
  /** Kinds of jobs that call the outside world. */
  readonly callingKinds: readonly string[]
  /** Least wait after a failed attempt, in milliseconds, by kind: entry `n` follows attempt `n + 1`, the last goes on. */
  readonly backoffMs: Readonly<Record<string, readonly number[]>>
  /** A run that means to inject nothing. Any other run without a fault is `unknown`. */
  readonly faultless: boolean
  /** A key may go to another partition, or to another topic of the same name, while the run goes on. Default false. */
  readonly relocates?: boolean
  /** There are times at which the log cannot be read. Default false. */
  readonly outages?: boolean
  /** The database was restored to an earlier state: jobs that were done have never been, as far as it knows. Default false. */
  readonly restored?: boolean
}

/** A record that the test produced, or tried to. */
export interface ProduceEntry {
  readonly entry: 'produce'
  /** Event id: header `ce_id`. */
  readonly id: string
  readonly key: string | null
  /** Counted per key, from 0. */
  readonly seqInKey: number
  /** SHA-256 of the value's bytes, hexadecimal. */
  readonly sha256: string
  /** `info`: nobody heard; present once or absent are both fine. */
  readonly outcome: 'ok' | 'fail' | 'info'
  /** How often it was appended on purpose. Default 1. */
  readonly copies?: number
  /** By handler; `*` for a record that no handler gets to see. */
  readonly dispositions: Readonly<Record<string, Disposition>>
}

/** A fault, and whether the system was seen to suffer it. */
export interface FaultEntry {
  readonly entry: 'fault'
  readonly name: string
  readonly target: string
  /** Milliseconds of the test's wall clock. */
  readonly start: number
  readonly end: number
  readonly seen: boolean
  readonly evidence: string
}

/** A call that the fake outside world received. */
export interface EffectEntry {
  readonly entry: 'effect'
  readonly idempotencyKey: string
  readonly jobId: string
  readonly attempt: number
  readonly appliedAt: number
  /** False: the key was known already, so nothing happened. */
  readonly applied: boolean
}

/** One execution of an ordered handler, as the handler itself wrote it down. Times are of the machine's monotonic clock. */
export interface ExecutedEntry {
  readonly entry: 'executed'
  /** Random; the effect row of the execution names it. */
  readonly execution: string
  readonly handler: string
  readonly key: string
  readonly worker: string
  /** Nanoseconds, as text. */
  readonly start: string
  readonly end: string
}

/** A position that the test looked at while the run was going on. */
export interface SampleEntry {
  readonly entry: 'sample'
  readonly application: string
  readonly topicId: string
  readonly partition: number
  readonly generation: number
  readonly next: string
}

/** An offset that Kafka had committed for an application, and the position, which was looked at after that. */
export interface CommittedEntry extends Omit<SampleEntry, 'entry'> {
  readonly entry: 'committed'
  readonly committed: string
}

/** The moment at which nothing was left to do, and how long that took after the last fault. */
export interface QuietEntry {
  readonly entry: 'quiet'
  readonly reached: boolean
  readonly afterMs: number
  readonly limitMs: number
  /** What was left, if it was not reached. */
  readonly left: string
}

/** One line of a history. */
export type HistoryEntry =
  | RunEntry
  | ProduceEntry
  | FaultEntry
  | EffectEntry
  | ExecutedEntry
  | SampleEntry
  | CommittedEntry
  | QuietEntry

/** Appends a line. Observers in several processes append to one file; a line is written at once. */
export function appendEntry(file: string, entry: HistoryEntry): void {
  appendFileSync(file, `${JSON.stringify(entry)}\n`)
}

/** All lines of a history. A last line that was cut off by a kill is left out. */
export function readHistory(file: string): HistoryEntry[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.flatMap((line, index) => {
    if (line === '') return []
    try {
      return [JSON.parse(line) as HistoryEntry]
    } catch (error) {
      if (index >= lines.length - 2) return []
      throw new Error(`line ${index + 1} of ${file} is no history: ${line}`, { cause: error })
    }
  })
}

/** The entries of one kind. */
export function entriesOf<K extends HistoryEntry['entry']>(
  history: readonly HistoryEntry[],
  kind: K,
): Extract<HistoryEntry, { entry: K }>[] {
  return history.filter((entry) => entry.entry === kind) as Extract<HistoryEntry, { entry: K }>[]
}

/** The entry that says which run this is. */
export function runOf(history: readonly HistoryEntry[]): RunEntry {
  const [run] = entriesOf(history, 'run')
  if (run === undefined) throw new Error('a history begins with a run entry')
  return run
}
