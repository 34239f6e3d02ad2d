import { isUuid } from '../core/ids.ts'
import { plainArray } from '../postgres/array.ts'
import type { Pool } from '../postgres/pool.ts'
import { DEFAULT_MAX_BYTES, DEFAULT_MAX_RECORDS } from './checks.ts'
import { headersFromJson } from './headers-json.ts'
import type { LogRecord, ReadRequest, ReadResult } from './port.ts'

/**
 * The one history of the table log: PostgreSQL takes no row back that it gave. One that is restored, or failed over to a
 * server that lags, loses positions and records together, and the old owner's compare-and-set fails.
 */
const HISTORY = 'table'
/** Stands for an id that is no UUID: no topic has it. */
const NIL = '00000000-0000-0000-0000-000000000000'

/**
 * A row, everything as text but for the bytes: either what is known of the partition, or one of its records. Not objects
 * by name, because a read has many of them.
 */
type Row = readonly [
  ord: string,
  logStart: string | null,
  horizon: string | null,
  nextOffset: string | null,
  offset: string | null,
  timestampMs: string | null,
  key: Buffer | null,
  value: Buffer | null,
  headers: string | null,
  more: string | null,
]

const BYTEA = 17
const types = {
  getTypeParser: (oid: number) => (oid === BYTEA ? parseBytes : (text: string) => text),
}

/** The bytes of a `bytea` in either of the forms that a server can be set to. */
export function parseBytes(text: string): Buffer {
  if (text.startsWith('\\x')) return Buffer.from(text.slice(2), 'hex')
  return Buffer.from(
    text.replaceAll(/\\(\\|\d{3})/g, (_, code: string) =>
      code === '\\' ? code : String.fromCharCode(Number.parseInt(code, 8)),
    ),
    'latin1',
  )
}

/** Reads all that is asked for in one statement. */
export async function readRecords(
  pool: Pool,
  requests: readonly ReadRequest[],
): Promise<ReadResult[]> {
  const { rows } = await pool.query<Row & unknown[]>({
    text: `/* millrace:log-fetch */ select ord, log_start, horizon, next_offset, "offset",
        floor(extract(epoch from "timestamp") * 1000)::bigint, key, value, headers, more
      from millrace.log_fetch($1::uuid[], $2::integer[], $3::bigint[], $4::integer[], $5::bigint[])`,
    values: [
      plainArray(requests.map(({ topicId }) => (isUuid(topicId) ? topicId : NIL))),
      plainArray(requests.map(({ partition }) => partition)),
      plainArray(requests.map(({ offset }) => offset)),
      plainArray(requests.map(({ maxRecords }) => maxRecords ?? DEFAULT_MAX_RECORDS)),
      plainArray(requests.map(({ maxBytes }) => maxBytes ?? DEFAULT_MAX_BYTES)),
    ],
    rowMode: 'array',
    types,
  })
  const found = requests.map((): Found => ({ bounds: undefined, records: [], whole: true }))
  for (const row of rows) {
    const index = Number(row[0]) - 1
    const partition = found[index] as Found
    if (row[4] === null) {
      partition.bounds = row
      continue
    }
    // Every record but the last below the horizon has another behind it.
    partition.whole =
      partition.records.length === 0 ? row[9] === 'f' : partition.whole || row[9] === 'f'
    partition.records.push(toRecord(requests[index] as ReadRequest, row))
  }
  return requests.map((request, index) => toResult(request, found[index] as Found))
}

interface Found {
  bounds: Row | undefined
  readonly records: LogRecord[]
  /** Whether the records given are all that there were, up to the limit on their number. */
  whole: boolean
}

function toRecord({ topic, topicId, partition }: ReadRequest, row: Row): LogRecord {
  return {
    topic,
    topicId,
    partition,
    offset: BigInt(row[4] as string),
    key: row[6],
    value: row[7],
    headers: headersFromJson(row[8]),
    timestamp: new Date(Number(row[5])),
  }
}

function toResult(request: ReadRequest, { bounds, records, whole }: Found): ReadResult {
  const { topicId, partition, offset, maxRecords = DEFAULT_MAX_RECORDS } = request
  const place = { topicId, partition, history: HISTORY }
  if (bounds === undefined) {
    const nowhere = { records: [], nextOffset: offset, logStart: offset, end: offset }
    return { ...place, ...nowhere, outOfRange: 'unknown-partition' }
  }
  const logStart = BigInt(bounds[1] as string)
  const end = BigInt(bounds[2] as string)
  const range = { ...place, logStart, end }
  if (offset < logStart) {
    return { ...range, records: [], nextOffset: offset, outOfRange: 'before-start' }
  }
  if (offset > BigInt(bounds[3] as string)) {
    return { ...range, records: [], nextOffset: offset, outOfRange: 'behind-end' }
  }
  const last = records.at(-1)
  if (last !== undefined && (!whole || records.length >= maxRecords)) {
    return { ...range, records, nextOffset: last.offset + 1n }
  }
  // The horizon may have gone back to below the offset; what was read there was decided all the same.
  return { ...range, records, nextOffset: end > offset ? end : offset }
}
