import type { Log, Topic } from '../../src/log/port.ts'
import type { Queryable } from '../../src/postgres/queryable.ts'

/** Deletes a topic and makes it again: the same name, another log. */
export async function recreateTopic(log: Log, name: string): Promise<Topic> {
  const old = await log.topic(name)
  await log.deleteTopic(name)
  return log.createTopic(name, { partitions: old?.partitions ?? 1 })
}

/**
 * Makes a partition of the table log lose its tail from `offset` on, as an unclean election or a restored database does:
 * what is written next stands where other records stood.
 */
export async function loseTail(
  db: Queryable,
  topicId: string,
  partition: number,
  offset: bigint,
): Promise<void> {
  await db.query(
    'delete from millrace.record where topic_id = $1 and partition = $2 and "offset" >= $3',
    [topicId, partition, offset],
  )
  await db.query(
    'select setval(sequence, greatest($3::bigint - 1, 0), $3::bigint > 0) from millrace.log_partition where topic_id = $1 and partition = $2',
    [topicId, partition, offset],
  )
}

/** Adds partitions to a topic of the table log, as Kafka's `alter topic` does. */
export async function addPartitions(db: Queryable, name: string, total: number): Promise<void> {
  // A topic of another name is made with the missing partitions, which are then given to this one.
  await db.query(
    `with topic as (select id, partitions from millrace.topic where name = $1),
     made as (select t.id as old_id, t.partitions as first, c.id as new_id from topic t,
       millrace.topic_create(gen_random_uuid(), $1 || '.more', $2 - t.partitions) c)
     select * from made`,
    [name, total],
  )
  await db.query(
    `update millrace.log_partition lp set topic_id = t.id, partition = t.partitions + lp.partition
     from millrace.topic t, millrace.topic more
     where t.name = $1 and more.name = $1 || '.more' and lp.topic_id = more.id`,
    [name],
  )
  await db.query(`delete from millrace.topic where name = $1 || '.more'`, [name])
  await db.query('update millrace.topic set partitions = $2 where name = $1', [name, total])
}
