import { bytesToJson, bytesToText, parseLossless, textOf } from './json-values.ts'

/** A record as it is read from the log. */
export interface TailedRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly timestamp: Date
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: readonly (readonly [name: string, value: Uint8Array | null])[]
}

/** A record for people, on one line, not yet neutralized: `time topic/partition@offset type key value`. */
export function recordToLine(record: TailedRecord): string {
  const { topic, partition, offset, timestamp, key, value } = record
  const type = headerText(record, 'ce_type') ?? '-'
  const shown = value === null ? '(tombstone)' : bytesToText(value)
  return `${timestamp.toISOString()} ${topic}/${partition}@${offset} ${type} ${key === null ? '-' : bytesToText(key, 200)} ${shown}`
}

/**
 * A record for programs. `data` where the value is JSON; else `value` with its bytes. Nothing is rounded or lost: whole
 * numbers that a double cannot hold are strings.
 */
export function recordToJson(record: TailedRecord): unknown {
  const { topic, partition, offset, timestamp, key, value, headers } = record
  const text = value === null ? undefined : textOf(value)
  const data = text === undefined ? undefined : parseLossless(text)
  return {
    topic,
    partition,
    offset: String(offset),
    timestamp: timestamp.toISOString(),
    id: headerText(record, 'ce_id') ?? null,
    type: headerText(record, 'ce_type') ?? null,
    source: headerText(record, 'ce_source') ?? null,
    key: bytesToJson(key),
    headers: headers.map(([name, header]) => ({
      name,
      value: header === null ? null : (textOf(header) ?? bytesToJson(header)),
    })),
    ...(data === undefined ? { value: bytesToJson(value) } : { data }),
  }
}

/** The last header of that name as text. */
export function headerText(record: TailedRecord, name: string): string | undefined {
  const value = record.headers.findLast(([found]) => found === name)?.[1]
  return value == null ? undefined : textOf(value)
}
