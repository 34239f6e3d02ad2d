import type {
  AppendedRecord,
  Log,
  LogRecord,
  NewRecord,
  ReadResult,
  Topic,
} from '../../../src/log/port.ts'
import type { TestScope } from '../../support/database.ts'
import { eventually } from '../../support/wait.ts'

/** A transaction that appends and stays open until it is ended. */
export interface OpenTransaction {
  append(records: readonly NewRecord[]): Promise<readonly AppendedRecord[]>
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** A log under test. */
export interface Harness {
  readonly log: Log
  /** The same log as another process sees it. */
  readonly peer: Log
  /** Opens a transaction. Only asked of logs that are `transactional`. */
  begin(): Promise<OpenTransaction>
}

/** Makes a log without topics that ends with the test. */
export type MakeHarness = (t: TestScope) => Promise<Harness>

/** A record of `topic` with a value and perhaps a key; nothing else. */
export function record(topic: string, value: string, parts: Partial<NewRecord> = {}): NewRecord {
  return { topic, key: null, value: Buffer.from(value), headers: [], ...parts }
}

/** The value as text. */
export function valueOf({ value }: LogRecord): string {
  return Buffer.from(value ?? []).toString()
}

/** Reads one partition once. */
export async function readOnce(
  log: Log,
  topic: Topic,
  parts: {
    readonly partition?: number
    readonly offset?: bigint
    readonly maxRecords?: number
    readonly maxBytes?: number
  } = {},
): Promise<ReadResult> {
  const request = { topic: topic.name, topicId: topic.id, partition: 0, offset: 0n, ...parts }
  const [result] = await log.read([request])
  return result as ReadResult
}

/** Reads a topic from its start, all partitions, until `count` records are there; gives them by partition and offset. */
export async function readAll(log: Log, topic: Topic, count: number): Promise<LogRecord[]> {
  return eventually(async () => {
    const records: LogRecord[] = []
    for (const { partition, start } of await log.offsets(topic.id)) {
      for (let offset = start; ; ) {
        const result = await readOnce(log, topic, { partition, offset })
        records.push(...result.records)
        if (result.nextOffset === offset) break
        offset = result.nextOffset
      }
    }
    return records.length >= count ? records : undefined
  }) as Promise<LogRecord[]>
}
