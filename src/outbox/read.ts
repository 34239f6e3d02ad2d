import { headersFromJson } from '../log/headers-json.ts'
import type { RelayedRecord } from '../log/relay-port.ts'
import { parseBytes } from '../log/table-read.ts'
import type { Pool } from '../postgres/pool.ts'

/** A record of the outbox, with its number in its shard. */
export interface OutboxRecord extends RelayedRecord {
  /** Grows, with holes. */
  readonly offset: bigint
  /** When, by the database's clock, in milliseconds since 1970. */
  readonly appendedMs: number
  /** As they are stored: the same text as long as the record is. */
  readonly headersJson: string | null
}

/** What one read gave. */
export interface OutboxBatch {
  /** In order of their offsets. */
  readonly records: readonly OutboxRecord[]
  /** Whether there may be more, left out by a limit. */
  readonly more: boolean
  /** Nothing below this is undecided. */
  readonly horizon: bigint
  /** The next offset to be drawn, in any shard. */
  readonly nextOffset: bigint
}

/** What to read. */
export interface OutboxRead {
  readonly shard: number
  /** The last offset that is not wanted. */
  readonly behind: bigint
  readonly maxRecords: number
  /** Most bytes of keys, values and headers; the first record is always given. */
  readonly maxBytes: number
}

type Row = readonly [
  horizon: string | null,
  nextOffset: string | null,
  offset: string,
  topic: string,
  partition: string | null,
  timestampMs: string,
  appendedMs: string,
  key: Buffer | null,
  value: Buffer | null,
  headers: string | null,
]

const BYTEA = 17
const types = {
  getTypeParser: (oid: number) => (oid === BYTEA ? parseBytes : (text: string) => text),
}

const COLUMNS = `"offset", topic, partition, floor(extract(epoch from "timestamp") * 1000)::bigint,
  floor(extract(epoch from appended_at) * 1000)::bigint, key, value, headers`

/** Reads records of a shard that are decided, in order. Passes none over: later commits are never below `horizon`. */
export async function readOutbox(pool: Pool, read: OutboxRead): Promise<OutboxBatch> {
  const { shard, behind, maxRecords, maxBytes } = read
  const { rows } = await pool.query<Row & unknown[]>({
    text: `/* millrace:outbox-fetch */ select horizon, next_offset, ${COLUMNS}
      from millrace.outbox_fetch($1::smallint, $2::bigint, $3, $4)`,
    values: [shard, String(behind), maxRecords, maxBytes],
    rowMode: 'array',
    types,
  })
  const [first, ...rest] = rows
  const records = rest.map(toRecord)
  const bytes = records.reduce(
    (sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0),
    0,
  )
  return {
    records,
    more: records.length >= maxRecords || bytes * 2 >= maxBytes,
    horizon: BigInt(first?.[0] as string),
    nextOffset: BigInt(first?.[1] as string),
  }
}

/** The record at an offset, if it is there. */
export async function readOutboxRecord(
  pool: Pool,
  shard: number,
  offset: bigint,
): Promise<OutboxRecord | undefined> {
  const { rows } = await pool.query<Row & unknown[]>({
    text: `/* millrace:outbox-record */ select null, null, ${COLUMNS}
      from millrace.outbox_record where shard = $1::smallint and "offset" = $2::bigint`,
    values: [shard, String(offset)],
    rowMode: 'array',
    types,
  })
  return rows[0] === undefined ? undefined : toRecord(rows[0])
}

function toRecord(row: Row): OutboxRecord {
  const [, , offset, topic, partition, timestampMs, appendedMs, key, value, headers] = row
  return {
    offset: BigInt(offset),
    topic,
    partition: partition === null ? null : Number(partition),
    timestamp: new Date(Number(timestampMs)),
    appendedMs: Number(appendedMs),
    key,
    value,
    headersJson: headers,
    headers: headersFromJson(headers),
  }
}
