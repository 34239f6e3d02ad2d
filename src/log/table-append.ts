import type { Random } from '../core/random.ts'
import { Problems } from '../errors/config.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { byteaArray, plainArray, textArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { headersToJson } from './headers-json.ts'
import { partitionOf } from './partitioner.ts'
import type { AppendedRecord, NewRecord, Topic } from './port.ts'

/** Most bytes of one append: hexadecimal, they must fit into one text of the runtime and one message of Postgres. */
const MAX_APPEND_BYTES = 128 * 1_048_576
/** The year 9999 ends. */
const GREATEST_TIME_MS = 253_402_300_799_999

/**
 * Looks at records before anything is written.
 * @throws E_CONFIG_INVALID when a timestamp or the name of a header cannot be stored.
 * @throws E_EVENT_TOO_LARGE
 */
export function checkRecords(records: readonly NewRecord[]): void {
  let bytes = 0
  const problems = new Problems('append')
  for (const [index, { key, value, headers, timestamp }] of records.entries()) {
    bytes += (key?.length ?? 0) + (value?.length ?? 0)
    for (const [name, headerValue] of headers) {
      bytes += name.length + (headerValue?.length ?? 0)
      if (name.isWellFormed()) continue
      problems.expect(false, `records[${index}].headers`, 'names without lone surrogates', name)
    }
    const ms = timestamp?.getTime() ?? 0
    if (ms >= 0 && ms <= GREATEST_TIME_MS) continue
    const expected = 'a valid date from 1970 to the year 9999'
    problems.expect(false, `records[${index}].timestamp`, expected, String(timestamp))
  }
  problems.throwIfAny()
  if (bytes > MAX_APPEND_BYTES) {
    throw new MillraceError(
      'E_EVENT_TOO_LARGE',
      `${records.length} records have ${bytes} bytes together, and at most ${MAX_APPEND_BYTES} are appended at once`,
      { details: { records: records.length, bytes, limit: MAX_APPEND_BYTES } },
    )
  }
}

/** Writes records in one statement, through `db`. The topics of all of them are in `topics`. */
export async function appendRecords(
  db: Queryable,
  random: Random,
  topics: ReadonlyMap<string, Topic>,
  records: readonly NewRecord[],
): Promise<AppendedRecord[]> {
  const places = records.map((record) => placeOf(record, topics, random))
  const { rows } = await db.query<{ offsets: string }>(
    `/* millrace:log-append */ select array_agg(a."offset" order by a.ord)::text as offsets
     from millrace.log_append($1::uuid[], $2::integer[], $3::timestamptz[], $4::bytea[], $5::bytea[], $6::text[]) a`,
    [
      plainArray(places.map(({ topicId }) => topicId)),
      plainArray(places.map(({ partition }) => partition)),
      textArray(records.map(({ timestamp }) => timestamp?.toISOString() ?? null)),
      byteaArray(records.map(({ key }) => key)),
      byteaArray(records.map(({ value }) => value)),
      textArray(records.map(({ headers }) => headersToJson(headers))),
    ],
  )
  const offsets = (rows[0] as { offsets: string }).offsets.slice(1, -1).split(',')
  return places.map(({ topicId, partition }, index) => ({
    topicId,
    partition,
    offset: BigInt(offsets[index] as string),
  }))
}

function placeOf(
  { topic: name, key, partition }: NewRecord,
  topics: ReadonlyMap<string, Topic>,
  random: Random,
): { readonly topicId: string; readonly partition: number } {
  const topic = topics.get(name) as Topic
  if (partition === undefined) {
    return { topicId: topic.id, partition: partitionOf(key, topic.partitions, random) }
  }
  if (!Number.isInteger(partition) || partition < 0 || partition >= topic.partitions) {
    throw new MillraceError(
      'E_LOG_UNKNOWN_TOPIC',
      `topic '${name}' has no partition ${partition}: it has ${topic.partitions}, numbered from 0`,
      { details: { topic: name, partition, partitions: topic.partitions } },
    )
  }
  return { topicId: topic.id, partition }
}
