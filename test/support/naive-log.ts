import { tableLogHarness } from './table-log.ts'
import type { Harness } from '../conformance/log/harness.ts'
import type { TestScope } from './database.ts'

/**
 * A log with the mistake that most outbox readers make, and with no other: it takes what is visible above the last offset
 * (`id > last`) and goes on from there, whoever may still commit below. It is the table log of a database whose horizon
 * lies behind the last visible record. For proving that the conformance suite notices.
 */
export async function naiveLogHarness(t: TestScope): Promise<Harness> {
  const harness = await tableLogHarness(t)
  await harness.pool.query(
    `create or replace function millrace.log_horizon(topic_ids uuid[], partitions integer[])
     returns table (ord bigint, log_start bigint, horizon bigint, next_offset bigint)
     language sql volatile as $$
       select u.ord, lp.log_start,
         coalesce((select max(r."offset") + 1 from millrace.record r
                   where r.topic_id = u.topic_id and r.partition = u.partition), lp.log_start),
         coalesce(pg_sequence_last_value(lp.sequence), -1) + 1
       from unnest(topic_ids, partitions) with ordinality u(topic_id, partition, ord)
       join millrace.log_partition lp on lp.topic_id = u.topic_id and lp.partition = u.partition
     $$`,
  )
  return harness
}
