import assert from 'node:assert/strict'
import type pg from 'pg'
import type { Replay } from '../../src/replay/replay.ts'
import { PARTITIONS } from './sales.ts'

/** What must come of a mass failure. */
export interface Expected {
  /** How many records meet the code that cannot read them. */
  readonly count: number
  /** Numbers of records that no code accepts. */
  readonly bad: ReadonlySet<number>
}

/** The brake has stopped every partition in front of the first record that fails, and nothing is a dead letter. */
export async function judgeBrake(pool: pg.Pool, application: string): Promise<void> {
  const { rows } = await pool.query<{ stops: number; letters: number; elsewhere: number }>(
    `select (select count(*)::int from millrace.gap where application = $1 and code = 'flood' and decision is null) as stops,
       (select count(*)::int from millrace.dead_letter where application = $1) as letters,
       (select count(*)::int from millrace.position p where p.application = $1 and p.next_offset is distinct from (
         select min(r."offset") from millrace.record r where r.topic_id = p.topic_id and r.partition = p.partition)) as elsewhere`,
    [application],
  )
  assert.deepEqual(rows, [{ stops: PARTITIONS, letters: 0, elsewhere: 0 }])
}

/** Every record is one dead letter, byte for byte as the log has it, and all are of one group. */
export async function judgeBytes(pool: pg.Pool, application: string, count: number): Promise<void> {
  const { rows } = await pool.query<{ letters: number; same: number; groups: number }>(
    `select count(*)::int as letters, count(distinct d.fingerprint)::int as groups,
       count(*) filter (where sha256(d.value) = sha256(r.value) and sha256(d.key) = sha256(r.key)
         and d.headers::text is not distinct from r.headers::text)::int as same
     from millrace.dead_letter d
     left join millrace.record r using (topic_id, partition, "offset") where d.application = $1`,
    [application],
  )
  assert.deepEqual(rows, [{ letters: count, same: count, groups: 1 }])
}

/** All but the bad ones passed, or would. */
export function judgeReplay(
  { state, total, passed, failed, skipped, parked }: Replay,
  { count, bad }: Expected,
): void {
  assert.deepEqual(
    { state, total, passed, failed, skipped, parked },
    {
      state: 'finished',
      total: BigInt(count),
      passed: BigInt(count - bad.size),
      failed: BigInt(bad.size),
      skipped: 0n,
      parked: 0n,
    },
  )
}

/** It was killed while something was left, and another process took it over. */
export function judgeKill(atKill: Replay, ended: Replay, { count, bad }: Expected): void {
  assert.equal(atKill.state, 'running', 'it was killed after its end: take more records')
  assert.ok(atKill.passed < count - bad.size, `killed when all of ${atKill.passed} had passed`)
  assert.ok(ended.epoch > atKill.epoch, `taken over: epoch ${atKill.epoch} to ${ended.epoch}`)
}

/** What is bad is open, with one replay more; all else is closed. */
export async function judgeDeadLetters(
  pool: pg.Pool,
  application: string,
  { count, bad }: Expected,
): Promise<void> {
  const { rows: states } = await pool.query(
    `select state, replays, count(*)::int as n from millrace.dead_letter
     where application = $1 group by 1, 2 order by 1`,
    [application],
  )
  assert.deepEqual(states, [
    { state: 'open', replays: 1, n: bad.size },
    { state: 'replayed', replays: 0, n: count - bad.size },
  ])
  const { rows: left } = await pool.query<{ n: number }>(
    `select (convert_from(value, 'utf8')::json ->> 'n')::int as n from millrace.dead_letter
     where application = $1 and state = 'open' order by 1`,
    [application],
  )
  assert.deepEqual(
    left.map(({ n }) => n),
    [...bad].sort((a, b) => a - b),
  )
}

/** None is lost, none is there twice, and all are in order per household. */
export async function judgeLedger(
  pool: pg.Pool,
  application: string,
  { count, bad }: Expected,
): Promise<void> {
  const { rows } = await pool.query(
    `select count(*)::int as n, count(distinct n)::int as numbers,
       count(*) filter (where before > n)::int as overtaken
     from (select n, lag(n) over (partition by household order by place) as before from ledger
       where app = $1) l`,
    [application],
  )
  const good = count - bad.size
  assert.deepEqual(rows, [{ n: good, numbers: good, overtaken: 0 }])
}
