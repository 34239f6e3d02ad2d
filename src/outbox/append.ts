import type { Core } from '../core/core.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { headersToJson } from '../log/headers-json.ts'
import { murmur2 } from '../log/partitioner.ts'
import type { NewRecord } from '../log/port.ts'
import { checkRecords } from '../log/checks.ts'
import { byteaArray, plainArray, textArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'

/**
 * Writes records into the outbox in one statement, through `db`, which must be a client inside a transaction: they reach the
 * log when and if that commits. Records of one topic and key keep their order. Gives the shards to wake after the commit.
 *
 * Whether the topics exist is not looked at: what cannot be produced waits in the outbox.
 * @throws E_CONFIG_INVALID, E_EVENT_TOO_LARGE as `Log.append`; E_LOG_UNKNOWN_TOPIC when a partition is no whole number.
 */
export async function appendToOutbox(
  db: Queryable,
  core: Core,
  records: readonly NewRecord[],
): Promise<readonly number[]> {
  checkRecords(records)
  if (records.length === 0) return []
  // Without a key there is no order to keep; what is written together stays together, and is relayed in one piece.
  const loose = Math.floor(core.random.next() * 0x7fffffff)
  const { rows } = await db.query<{ shards: number[] }>(
    `/* millrace:outbox-append */ select millrace.outbox_append(
       $1::integer[], $2::text[], $3::integer[], $4::timestamptz[], $5::bytea[], $6::bytea[], $7::text[])::integer[] as shards`,
    [
      plainArray(records.map((record) => hashOf(record, loose))),
      textArray(records.map(({ topic }) => topic)),
      `{${records.map(partitionText).join(',')}}`,
      textArray(records.map(({ timestamp }) => timestamp?.toISOString() ?? null)),
      byteaArray(records.map(({ key }) => key)),
      byteaArray(records.map(({ value }) => value)),
      textArray(records.map(({ headers }) => headersToJson(headers))),
    ],
  )
  return (rows[0] as { shards: number[] }).shards
}

const ZERO = Buffer.alloc(1)

function hashOf({ topic, key }: NewRecord, loose: number): number {
  if (key === null) return loose
  return murmur2(Buffer.concat([Buffer.from(topic), ZERO, key])) & 0x7fffffff
}

function partitionText({ topic, partition }: NewRecord): string {
  if (partition === undefined) return 'NULL'
  if (Number.isInteger(partition) && partition >= 0 && partition <= 0x7fffffff) {
    return String(partition)
  }
  throw new MillraceError(
    'E_LOG_UNKNOWN_TOPIC',
    `topic '${topic}' has no partition ${partition}: partitions are numbered from 0`,
    { details: { topic, partition } },
  )
}
