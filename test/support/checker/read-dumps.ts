import type { Queryable } from '../../../src/postgres/queryable.ts'
import type { Dumps, OriginDump } from './dumps.ts'
import { readOperated } from './operated-dumps.ts'

interface StoredOrigin {
  readonly application: string
  readonly handler: string
  readonly topicId: string
  readonly partition: number
  readonly offset: string
  readonly generation: number
  readonly index: number
}

/** Reads everything that is judged, by plain SQL on the tables: no code of the system under test takes part. */
export async function readDumps(db: Queryable): Promise<Dumps> {
  const rows = async <R extends Record<string, unknown>>(sql: string): Promise<R[]> =>
    (await db.query<R>(sql)).rows
  return {
    records: (
      await rows<{
        topic_id: string
        partition: number
        offset: string
        headers: [string, string | null][] | null
        key: Buffer | null
        sha256: string
      }>(
        `select topic_id, partition, "offset"::text as "offset", headers, key,
           encode(sha256(coalesce(value, '')), 'hex') as sha256
         from millrace.record order by topic_id, partition, "offset"`,
      )
    ).map((row) => ({
      topicId: row.topic_id,
      partition: row.partition,
      offset: BigInt(row.offset),
      id: String(row.headers?.find(([name]) => name === 'ce_id')?.[1]),
      key: textOf(row.key),
      sha256: row.sha256,
    })),
    positions: (
      await rows<{
        application: string
        topic_id: string
        partition: number
        generation: number
        epoch: string
        next_offset: string
        end: string
        halted: string | null
      }>(
        `select p.application, p.topic_id, p.partition, p.generation, p.epoch::text, p.next_offset::text,
           (coalesce(pg_sequence_last_value(l.sequence), -1) + 1)::text as "end", p.halted
         from millrace.position p left join millrace.log_partition l using (topic_id, partition) order by 1, 2, 3`,
      )
    ).map((row) => ({
      application: row.application,
      topicId: row.topic_id,
      partition: row.partition,
      generation: row.generation,
      epoch: BigInt(row.epoch),
      next: BigInt(row.next_offset),
      end: BigInt(row.end),
      halted: row.halted,
    })),
    batches: (
      await rows<{
        application: string
        topic_id: string
        partition: number
        generation: number
        first_offset: string
        next_offset: string
        records: number
        done: number
        jobs: number
        filtered: number
        dead_lettered: number
      }>(
        `select application, topic_id, partition, generation, first_offset::text, next_offset::text, records, done,
           jobs, filtered, dead_lettered
         from millrace.batch order by 1, 2, 3, 4, batch.first_offset`,
      )
    ).map((row) => ({
      application: row.application,
      topicId: row.topic_id,
      partition: row.partition,
      generation: row.generation,
      first: BigInt(row.first_offset),
      next: BigInt(row.next_offset),
      records: row.records,
      done: row.done,
      jobs: row.jobs,
      filtered: row.filtered,
      deadLettered: row.dead_lettered,
    })),
    ...(await readJobs(rows)),
    ...(await readOperated(db)),
    effects: (
      await rows<{
        seq: string
        source: 'record' | 'job'
        name: string
        event_id: string
        key: string | null
        job_id: string | null
        attempt: number | null
        topic_id: string | null
        partition: number | null
        offset: string | null
        generation: number | null
        execution: string | null
      }>(
        `select seq::text, source, name, event_id, key, job_id, attempt, topic_id, partition,
           "offset"::text as "offset", generation, execution
         from observer.effect order by effect.seq`,
      )
    ).map((row) => ({
      seq: BigInt(row.seq),
      source: row.source,
      name: row.name,
      eventId: row.event_id,
      key: row.key,
      jobId: row.job_id,
      attempt: row.attempt,
      topicId: row.topic_id,
      partition: row.partition,
      offset: row.offset === null ? null : BigInt(row.offset),
      generation: row.generation,
      execution: row.execution,
    })),
    deadLetters: (
      await rows<{
        id: string
        application: string | null
        handler: string
        stage: string
        topic_id: string | null
        partition: number | null
        offset: string | null
        generation: number | null
        key: Buffer | null
        sha256: string | null
        job_id: string | null
        state: string
      }>(
        `select id::text, application, handler, stage, topic_id, partition, "offset"::text as "offset", generation, key,
           encode(sha256(value), 'hex') as sha256, job_id, state
         from millrace.dead_letter order by dead_letter.id`,
      )
    ).map((row) => ({
      id: BigInt(row.id),
      application: row.application,
      handler: row.handler,
      stage: row.stage,
      topicId: row.topic_id,
      partition: row.partition,
      offset: row.offset === null ? null : BigInt(row.offset),
      generation: row.generation,
      key: textOf(row.key),
      sha256: row.sha256,
      jobId: row.job_id,
      state: row.state,
    })),
    positionTransitions: (
      await rows<{
        seq: string
        xid: string
        actor: string
        application: string
        topic_id: string
        partition: number
        owner: string | null
        epoch: string
        next_offset: string
        generation: number
      }>(
        `select seq::text, xid, actor, application, topic_id, partition, owner, epoch::text, next_offset::text, generation
         from observer.position_change order by position_change.seq`,
      )
    ).map((row) => ({
      seq: BigInt(row.seq),
      xid: row.xid,
      actor: row.actor,
      application: row.application,
      topicId: row.topic_id,
      partition: row.partition,
      owner: row.owner,
      epoch: BigInt(row.epoch),
      next: BigInt(row.next_offset),
      generation: row.generation,
    })),
    moves: (
      await rows<{
        application: string
        topic_id: string
        partition: number
        generation: number
        position: string
        to: string
        given_up: string | null
      }>(
        `select a.filter ->> 'application' as application, m.value ->> 'topicId' as topic_id,
           (m.value ->> 'partition')::int as partition, (m.value ->> 'generation')::int as generation,
           m.value ->> 'position' as position, m.value ->> 'to' as "to",
           m.value ->> 'givenUp' as given_up
         from millrace.operator_action a, json_array_elements(a.detail) m
         where a.action in ('consumers.seek', 'consumers.resolve')
           and m.value ->> 'position' is not null and m.value ->> 'to' is not null
         order by a.id`,
      )
    ).map((row) => ({
      application: row.application,
      topicId: row.topic_id,
      partition: row.partition,
      generation: row.generation,
      position: BigInt(row.position),
      to: BigInt(row.to),
      givenUp: row.given_up === null ? null : BigInt(row.given_up),
    })),
  }
}

type Rows = <R extends Record<string, unknown>>(sql: string) => Promise<R[]>

async function readJobs(rows: Rows): Promise<Pick<Dumps, 'jobs' | 'attempts' | 'jobTransitions'>> {
  const columns = 'id, kind, state, attempt, max_attempts, crashes, max_crashes'
  const jobs = await rows<{
    id: string
    kind: string
    state: string
    attempt: number
    max_attempts: number
    crashes: number
    max_crashes: number
    origin: StoredOrigin | null
    finished: boolean
    orphaned: boolean
  }>(
    `select ${columns}, meta::json -> 'origin' as origin, false as finished,
       state = 'executing' and not exists (select from millrace.process p
         where p.id = j.process_id and p.expires_at > clock_timestamp()) as orphaned
     from millrace.job j
     union all select ${columns}, meta::json -> 'origin', true, false from millrace.job_history`,
  )
  const attempts = await rows<{ job_id: string; attempt: number; token: string; outcome: string }>(
    'select job_id, attempt, token, outcome from millrace.job_attempt order by job_id, attempt',
  )
  const changes = await rows<{
    seq: string
    xid: string
    actor: string
    in_table: 'job' | 'history'
    op: 'insert' | 'update' | 'delete'
    id: string
    kind: string
    from_state: string | null
    to_state: string | null
    attempt: number
    max_attempts: number
    crashes: number
    token: string | null
    old_token: string | null
    holder_alive: boolean
    origin: StoredOrigin | null
    at: Date
    scheduled_at: Date
    attempted_at: Date | null
  }>('select *, seq::text as seq from observer.job_change order by job_change.seq')
  return {
    jobs: jobs.map((row) => ({
      id: row.id,
      kind: row.kind,
      state: row.state,
      attempt: row.attempt,
      maxAttempts: row.max_attempts,
      crashes: row.crashes,
      maxCrashes: row.max_crashes,
      origin: originOf(row.origin),
      finished: row.finished,
      orphaned: row.orphaned,
    })),
    attempts: attempts.map((row) => ({
      jobId: row.job_id,
      attempt: row.attempt,
      token: row.token,
      outcome: row.outcome,
    })),
    jobTransitions: changes.map((row) => ({
      seq: BigInt(row.seq),
      xid: row.xid,
      actor: row.actor,
      table: row.in_table,
      op: row.op,
      id: row.id,
      kind: row.kind,
      from: row.from_state,
      to: row.to_state,
      attempt: row.attempt,
      maxAttempts: row.max_attempts,
      crashes: row.crashes,
      token: row.token,
      oldToken: row.old_token,
      holderAlive: row.holder_alive,
      origin: originOf(row.origin),
      at: row.at.getTime(),
      scheduledAt: row.scheduled_at.getTime(),
      attemptedAt: row.attempted_at?.getTime() ?? null,
    })),
  }
}

function originOf(stored: StoredOrigin | null): OriginDump | null {
  return stored === null ? null : { ...stored, offset: BigInt(stored.offset) }
}

/** The scenario's keys are text. */
function textOf(bytes: Buffer | null): string | null {
  return bytes === null ? null : bytes.toString('utf8')
}
