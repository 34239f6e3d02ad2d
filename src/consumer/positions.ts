import { pausedSql } from '../control/pauses.ts'
import type { CountChange } from '../counts/counts.ts'
import { MillraceError } from '../errors/millrace-error.ts'
import { LIVE_PROCESSES_SQL, readName } from '../process/heartbeat.ts'
import type { Queryable } from '../postgres/queryable.ts'

/** Which partition of which application. */
export interface PositionKey {
  readonly application: string
  readonly topicId: string
  readonly partition: number
}

/** A position that this process owns. `next` is where to read; `epoch` fences everybody who owned it before. */
export interface OwnedPosition extends PositionKey {
  readonly topic: string
  readonly epoch: bigint
  readonly next: bigint
  readonly generation: number
  readonly lastOffset: bigint | null
  readonly lastHash: Uint8Array | null
}

/** A position as anybody sees it. */
export interface PositionRow extends PositionKey {
  readonly topic: string
  readonly owner: string | null
  readonly ownerAlive: boolean
  readonly epoch: bigint
  readonly halted: string | null
  /** Whether an operator holds it back. */
  readonly paused: boolean
}

/** Makes positions that do not exist yet; those that exist stay as they are. */
export async function createPositions(
  db: Queryable,
  positions: readonly (PositionKey & { readonly topic: string; readonly next: bigint })[],
): Promise<void> {
  if (positions.length === 0) return
  await db.query(
    `/* millrace:position-create */ insert into millrace.position (application, topic, topic_id, partition, next_offset)
     select * from unnest($1::text[], $2::text[], $3::uuid[], $4::int[], $5::bigint[])
     on conflict do nothing`,
    [
      positions.map((p) => p.application),
      positions.map((p) => p.topic),
      positions.map((p) => p.topicId),
      positions.map((p) => p.partition),
      positions.map((p) => p.next),
    ],
  )
}

/** All positions of an application. */
export async function listPositions(db: Queryable, application: string): Promise<PositionRow[]> {
  const { rows } = await db.query<{
    topic: string
    topic_id: string
    partition: number
    owner: string | null
    alive: boolean
    epoch: string
    halted: string | null
    paused: boolean
  }>(
    `/* millrace:position-list */ select topic, topic_id, partition, owner, epoch::text, halted,
       coalesce(owner in (${LIVE_PROCESSES_SQL}), false) as alive, ${pausedSql('p')} as paused
     from millrace.position p where application = $1 order by topic, topic_id, partition`,
    [application],
  )
  return rows.map((row) => ({
    application,
    topic: row.topic,
    topicId: row.topic_id,
    partition: row.partition,
    owner: row.owner,
    ownerAlive: row.alive,
    epoch: BigInt(row.epoch),
    halted: row.halted,
    paused: row.paused,
  }))
}

/** The live processes that read topics for an application, by topic. */
export async function liveReaders(
  db: Queryable,
  application: string,
  topics: readonly string[],
): Promise<Map<string, string[]>> {
  const { rows } = await db.query<{ id: string; topic: string }>(
    `/* millrace:process-readers */ select p.id, t.topic
     from unnest($1::text[], $2::text[]) t(topic, name) join millrace.process p on t.name = any (p.reads)
     where p.expires_at > clock_timestamp() order by p.id`,
    [topics, topics.map((topic) => readName(application, topic))],
  )
  const readers = new Map<string, string[]>()
  for (const { id, topic } of rows) readers.set(topic, [...(readers.get(topic) ?? []), id])
  return readers
}

/**
 * Takes positions that nobody alive owns, each with a new epoch. A position whose old owner is just committing is
 * waited for, as long as the caller's lock time-out allows; its batch is then before us, never beside us.
 */
export async function acquirePositions(
  db: Queryable,
  processId: string,
  keys: readonly PositionKey[],
): Promise<OwnedPosition[]> {
  const { rows } = await db.query<{
    application: string
    topic: string
    topic_id: string
    partition: number
    epoch: string
    next_offset: string
    generation: number
    last_offset: string | null
    last_hash: Buffer | null
  }>(
    `/* millrace:position-acquire */ update millrace.position p
     set owner = $1, epoch = epoch + 1, waiting = null, updated_at = clock_timestamp()
     from unnest($2::text[], $3::uuid[], $4::int[]) k(application, topic_id, partition)
     where p.application = k.application and p.topic_id = k.topic_id and p.partition = k.partition
       and p.halted is null
       and (p.owner is null or p.owner = $1 or p.owner not in (${LIVE_PROCESSES_SQL}))
       -- Only while we are alive ourselves: a process that has lapsed takes nothing.
       and $1 in (${LIVE_PROCESSES_SQL})
     returning p.application, p.topic, p.topic_id, p.partition, p.epoch::text, p.next_offset::text, p.generation,
       p.last_offset::text, p.last_hash`,
    [
      processId,
      keys.map((k) => k.application),
      keys.map((k) => k.topicId),
      keys.map((k) => k.partition),
    ],
  )
  return rows.map((row) => ({
    application: row.application,
    topic: row.topic,
    topicId: row.topic_id,
    partition: row.partition,
    epoch: BigInt(row.epoch),
    next: BigInt(row.next_offset),
    generation: row.generation,
    lastOffset: row.last_offset === null ? null : BigInt(row.last_offset),
    lastHash: row.last_hash,
  }))
}

/** Gives a position back, if it is still ours. */
export async function releasePosition(
  db: Queryable,
  processId: string,
  position: PositionKey & Pick<OwnedPosition, 'epoch'>,
): Promise<void> {
  await db.query(
    `/* millrace:position-release */ update millrace.position
     set owner = null, waiting = null, updated_at = clock_timestamp()
     where application = $1 and topic_id = $2 and partition = $3 and owner = $4 and epoch = $5`,
    [position.application, position.topicId, position.partition, processId, position.epoch],
  )
}

/** Says what the owner of a position waits for, or that it waits no longer. */
export async function noteWaiting(
  db: Queryable,
  processId: string,
  position: OwnedPosition,
  waiting: string | null,
): Promise<void> {
  await db.query(
    `/* millrace:position-waiting */ update millrace.position set waiting = $6, updated_at = clock_timestamp()
     where application = $1 and topic_id = $2 and partition = $3 and owner = $4 and epoch = $5`,
    [
      position.application,
      position.topicId,
      position.partition,
      processId,
      position.epoch,
      waiting,
    ],
  )
}

/** What became of the records of a batch. */
export interface BatchDisposition {
  readonly first: bigint
  readonly next: bigint
  readonly records: number
  readonly done: number
  readonly jobs: number
  readonly filtered: number
  readonly deadLettered: number
  readonly filteredBy: Readonly<Record<string, number>>
  readonly lastOffset: bigint | null
  readonly lastHash: Uint8Array | null
}

/**
 * The last statement of a batch's transaction: moves the position, if it is where this owner left it, and writes down
 * what became of the batch. This compare-and-set is the fence.
 * @throws E_CONSUMER_NOT_OWNER if the position is not ours, or not there, any more. The caller rolls back.
 */
export async function advancePosition(
  db: Queryable,
  processId: string,
  position: OwnedPosition,
  batch: BatchDisposition,
  counts: readonly CountChange[],
): Promise<void> {
  const real = counts.filter(({ delta }) => delta !== 0)
  const { rows } = await db.query<{ moved: number }>(
    `/* millrace:position-advance */ with moved as (
       update millrace.position
       set next_offset = $7, last_offset = coalesce($14, last_offset), last_hash = coalesce($15, last_hash),
           updated_at = clock_timestamp()
       where application = $1 and topic_id = $2 and partition = $3
         and owner = $4 and epoch = $5 and next_offset = $6 and halted is null
       returning generation
     ), noted as (
       insert into millrace.batch (application, topic_id, partition, generation, first_offset, next_offset, epoch,
         owner, records, done, jobs, filtered, dead_lettered, filtered_by, last_offset, last_hash)
       select $1, $2, $3, generation, $6, $7, $5, $4, $8, $9, $10, $11, $12, $13, $14::bigint, $15::bytea from moved
     ), counted as (
       insert into millrace.count_delta (metric, label, delta)
       select c.metric, c.label, c.delta from moved, unnest($16::text[], $17::text[], $18::bigint[]) c(metric, label, delta)
     )
     select count(*)::int as moved from moved`,
    [
      position.application,
      position.topicId,
      position.partition,
      processId,
      position.epoch,
      batch.first,
      batch.next,
      batch.records,
      batch.done,
      batch.jobs,
      batch.filtered,
      batch.deadLettered,
      JSON.stringify(batch.filteredBy),
      batch.lastOffset,
      batch.lastHash,
      real.map((c) => c.metric),
      real.map((c) => c.label),
      real.map((c) => c.delta),
    ],
  )
  if (rows[0]?.moved !== 1) {
    throw new MillraceError(
      'E_CONSUMER_NOT_OWNER',
      `partition ${position.partition} of ${position.topic} belongs to another process now, or an operator moved its position; this batch was rolled back, and reading goes on from where the position is.`,
      {
        details: {
          application: position.application,
          topic: position.topic,
          partition: position.partition,
          epoch: String(position.epoch),
        },
      },
    )
  }
}

/** Whether the batch that begins at `first` was committed by this very owner: asked when the reply to COMMIT was lost. */
export async function batchCommitted(
  db: Queryable,
  processId: string,
  position: OwnedPosition,
  first: bigint,
): Promise<boolean> {
  const { rows } = await db.query(
    `/* millrace:batch-committed */ select 1 from millrace.batch
     where application = $1 and topic_id = $2 and partition = $3 and generation = $4 and first_offset = $5
       and owner = $6 and epoch = $7`,
    [
      position.application,
      position.topicId,
      position.partition,
      position.generation,
      first,
      processId,
      position.epoch,
    ],
  )
  return rows.length > 0
}
