import type { Random } from '../core/random.ts'
import { byteaArray, plainArray, textArray } from '../postgres/array.ts'
import type { Queryable } from '../postgres/queryable.ts'
import { headersToJson } from './headers-json.ts'
import { placeOf } from './partitioner.ts'
import type { AppendedRecord, NewRecord, Topic } from './port.ts'

/** Writes records in one statement, through `db`. The topics of all of them are in `topics`. */
export async function appendRecords(
  db: Queryable,
  random: Random,
  topics: ReadonlyMap<string, Topic>,
  records: readonly NewRecord[],
): Promise<AppendedRecord[]> {
  const places = records.map((record) => placeOf(record, topics.get(record.topic) as Topic, random))
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
