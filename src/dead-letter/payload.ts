import { isUtf8 } from 'node:buffer'
import type { Header } from '../events/raw-record.ts'
import { headersFromJson } from '../log/headers-json.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** Larger values and args are not looked into; their number is told. */
export const LOOKED_INTO_BYTES = 1_048_576
/** About how many bytes a page of payloads has at most; a single larger one is a page of its own. */
const PAGE_BYTES = 4_194_304
const PAGE = 500

/** What a dead letter carries, as far as it is looked into. */
export interface Payload {
  readonly id: bigint
  readonly handler: string
  readonly key: Uint8Array | null
  /** Null: it has none, or it is too large. */
  readonly value: Uint8Array | null
  readonly argsJson: string | null
  readonly headers: readonly Header[]
  /** Bytes of value and args. */
  readonly size: number
  readonly tooLarge: boolean
  readonly producer: string | null
  readonly topic: string | null
  readonly eventType: string | null
  readonly eventVersion: number | null
  readonly codeVersion: string | null
  readonly error: unknown
}

interface Row extends Record<string, unknown> {
  readonly id: string
  readonly handler: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly args: string | null
  readonly headers: string | null
  readonly size: number
  readonly producer: string | null
  readonly topic: string | null
  readonly event_type: string | null
  readonly event_version: number | null
  readonly code_version: string | null
  readonly error: unknown
}

/**
 * Payloads of the dead letters that fit `condition`, newest first: a page of at most 500, and of about 4 MiB, so that the
 * memory does not grow with what they carry.
 * @param condition SQL over `millrace.dead_letter` with the parameters `values`.
 */
export async function readPayloads(
  db: Queryable,
  condition: string,
  values: readonly unknown[],
): Promise<Payload[]> {
  const { rows } = await db.query<Row>(
    `/* millrace:dead-letter-payloads */ with page as (
       select id, coalesce(octet_length(value), 0) + coalesce(octet_length(args::text), 0) as size,
         coalesce(octet_length(headers::text), 0) + coalesce(octet_length(key), 0) as beside
       from millrace.dead_letter where ${condition} order by dead_letter.id desc limit ${PAGE}
     ), running as (
       select id, size, sum(least(size, ${LOOKED_INTO_BYTES}) + beside) over (order by id desc)
         - least(size, ${LOOKED_INTO_BYTES}) - beside as before from page
     )
     select d.id::text, d.handler, d.key, r.size, d.producer, d.topic, d.event_type, d.event_version, d.code_version,
       d.error, case when r.size <= ${LOOKED_INTO_BYTES} then d.value end as value,
       case when r.size <= ${LOOKED_INTO_BYTES} then d.args::text end as args, d.headers::text as headers
     from running r join millrace.dead_letter d on d.id = r.id
     where r.before < ${PAGE_BYTES} order by d.id desc`,
    [...values],
  )
  return rows.map((row) => ({
    id: BigInt(row.id),
    handler: row.handler,
    key: row.key,
    value: row.value,
    argsJson: row.args,
    headers: headersFromJson(row.headers),
    size: row.size,
    tooLarge: row.size > LOOKED_INTO_BYTES,
    producer: row.producer,
    topic: row.topic,
    eventType: row.event_type,
    eventVersion: row.event_version,
    codeVersion: row.code_version,
    error: row.error,
  }))
}

/**
 * JSON without rounding: whole numbers that a double cannot hold, and those past its range, are their digits. `undefined`
 * when it is none, or nested too deep to be walked.
 */
export function readJsonText(text: string): unknown {
  try {
    return JSON.parse(text, exact) as unknown
  } catch {
    // A syntax error, or a stack that is too deep.
    return undefined
  }
}

/** Bytes as text, if they are UTF-8. */
export function readUtf8(bytes: Uint8Array | null): string | undefined {
  return bytes === null || !isUtf8(bytes) ? undefined : Buffer.from(bytes).toString('utf8')
}

function exact(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || (Number.isSafeInteger(value) && !Object.is(value, -0)))
    return value
  return Number.isInteger(value) || !Number.isFinite(value) || value === 0
    ? (context?.source ?? value)
    : value
}
