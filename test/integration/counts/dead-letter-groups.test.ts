import assert from 'node:assert/strict'
import { test } from 'node:test'
import type pg from 'pg'
import {
  foldDeadLetterGroups,
  readDeadLetterGroups,
  readOpenDeadLetters,
} from '../../../src/counts/dead-letter-groups.ts'
import { knownMigrations } from '../../../src/postgres/migrate.ts'
import { testDatabase } from '../../support/database.ts'

/** Dead letters of an application with a fingerprint, all in one statement; `ago` is an interval. */
async function setAside(
  pool: pg.Pool,
  application: string | null,
  fingerprint: string,
  n: number,
  ago = '0',
): Promise<void> {
  await pool.query(
    `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, created_at)
     select $1, 'index', 'apply', '{"class":"Error","message":"no"}', 1, $2, clock_timestamp() - $4::interval
     from generate_series(1, $3)`,
    [application, fingerprint, n, ago],
  )
}

/** What the table itself says, by counting. */
async function counted(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ name: string; n: number }>(
    `select coalesce(application, '-') || '/' || coalesce(nullif(fingerprint, ''), '-') as name, count(*)::int as n
     from millrace.dead_letter where state = 'open' group by 1`,
  )
  return Object.fromEntries(rows.map(({ name, n }) => [name, n]))
}

async function countedParked(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ name: string; n: number }>(
    `select coalesce(application, '-') as name, count(*)::int as n
     from millrace.dead_letter where state = 'parked' group by 1`,
  )
  return Object.fromEntries(rows.map(({ name, n }) => [name, n]))
}

async function keptParked(pool: pg.Pool): Promise<Record<string, number>> {
  const all = await readOpenDeadLetters(pool)
  return Object.fromEntries(
    all
      .filter(({ parked }) => parked !== 0)
      .map(({ application, parked }) => [application ?? '-', parked]),
  )
}

async function kept(pool: pg.Pool): Promise<Record<string, number>> {
  const groups = await readDeadLetterGroups(pool, 100)
  return Object.fromEntries(
    groups.map(({ application, fingerprint, open }) => [
      `${application ?? '-'}/${fingerprint ?? '-'}`,
      open,
    ]),
  )
}

test('the kept groups are what counting would give, whoever writes, folded or not', async (t) => {
  const { pool } = await testDatabase(t)
  const steps = [
    () => setAside(pool, 'search', 'aa', 5),
    () => setAside(pool, null, '', 2),
    () => setAside(pool, 'search', 'bb', 3),
    () => pool.query(`update millrace.dead_letter set state = 'replayed' where id in (1, 2, 8)`),
    () => pool.query(`update millrace.dead_letter set state = 'open' where id = 2`),
    () => pool.query(`update millrace.dead_letter set fingerprint = 'cc' where id in (2, 3)`),
    () => pool.query(`update millrace.dead_letter set attempts = attempts + 1`),
    () => pool.query(`delete from millrace.dead_letter where id in (1, 4)`),
    () => pool.query(`update millrace.dead_letter set state = 'parked' where id in (3, 5, 6, 9)`),
    () => pool.query(`update millrace.dead_letter set fingerprint = 'ff' where id in (3, 10)`),
    () => pool.query(`update millrace.dead_letter set state = 'open' where id = 5`),
    () => pool.query(`delete from millrace.dead_letter where id = 6`),
    () => pool.query(`update millrace.dead_letter set state = 'discarded' where id = 9`),
    () =>
      pool.query(
        `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, state)
         values ('search', 'h', 'apply', '{}', 1, 'aa', 'parked'), ('search', 'h', 'apply', '{}', 1, 'gg', 'parked')`,
      ),
    () =>
      pool.query(
        `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, job_id, state)
         select 'jobs', 'j', 'job', '{}', 1, 'dd', ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'open'
         from generate_series(1, 2) n`,
      ),
    () =>
      pool.query(
        `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, job_id)
         select 'jobs', 'j', 'job', '{}', 1, 'ee', ('00000000-0000-7000-8000-00000000000' || n)::uuid
         from generate_series(2, 3) n
         on conflict (job_id) where job_id is not null do update set fingerprint = excluded.fingerprint`,
      ),
  ]
  for (const [index, step] of steps.entries()) {
    await step()
    assert.deepEqual(await kept(pool), await counted(pool), `after step ${index}`)
    assert.deepEqual(await keptParked(pool), await countedParked(pool), `parked, step ${index}`)
    if (index % 2 === 1) await foldDeadLetterGroups(pool)
    assert.deepEqual(await kept(pool), await counted(pool), `folded after step ${index}`)
    assert.deepEqual(await keptParked(pool), await countedParked(pool), `parked, folded ${index}`)
  }
  assert.deepEqual((await pool.query('select from millrace.fingerprint_delta')).rowCount, 0)
})

test('what was parked before parked ones were counted is counted too', async (t) => {
  const { pool } = await testDatabase(t)
  await pool.query('drop schema millrace cascade; create schema millrace')
  const migrations = await knownMigrations()
  for (const { sql } of migrations.filter(({ version }) => version < 15)) await pool.query(sql)
  await setAside(pool, 'search', 'aa', 3)
  await setAside(pool, null, 'bb', 2)
  // Folded by the version before, as it stood there.
  await pool.query(`with taken as (delete from millrace.fingerprint_delta returning *)
    insert into millrace.fingerprint (application, fingerprint, open, dead_lettered, first_seen_at, last_seen_at, example)
    select application, fingerprint, open, dead_lettered, at, at, example from taken`)
  // The last failure of a replay may be of another kind, which was never open.
  await pool.query(`update millrace.dead_letter set state = 'parked' where id <> 1`)
  await pool.query(`update millrace.dead_letter set fingerprint = 'cc' where id = 2`)
  for (const { sql } of migrations.filter(({ version }) => version >= 15)) await pool.query(sql)
  assert.deepEqual(
    [await kept(pool), await keptParked(pool)],
    [{ 'search/aa': 1 }, { '-': 2, search: 2 }],
  )
  await foldDeadLetterGroups(pool)
  await setAside(pool, 'search', 'cc', 1)
  assert.deepEqual(await kept(pool), await counted(pool))
  assert.deepEqual(await keptParked(pool), await countedParked(pool))
})

test('a rolled back dead letter was never counted', async (t) => {
  const { pool } = await testDatabase(t)
  const client = await pool.connect()
  await client.query('begin')
  await client.query(
    `insert into millrace.dead_letter (application, handler, stage, error, attempts) values ('a', 'h', 'job', '{}', 1)`,
  )
  await client.query('rollback')
  client.release()
  assert.deepEqual(await readOpenDeadLetters(pool), [])
})

test('number, rate and age of the oldest are told per application and per group', async (t) => {
  const { pool } = await testDatabase(t)
  await setAside(pool, 'search', 'aa', 4, '2 hours')
  await foldDeadLetterGroups(pool)
  // What was folded long ago is out of the rate.
  await pool.query(`update millrace.fingerprint_minute set minute = minute - interval '61 minutes'`)
  await setAside(pool, 'search', 'bb', 3)
  await setAside(pool, 'mail', 'aa', 1, '1 minute')
  const [mail, search, ...rest] = await readOpenDeadLetters(pool)
  assert.deepEqual(rest, [])
  assert.deepEqual([mail?.application, mail?.open, mail?.lastHour], ['mail', 1, 1])
  assert.deepEqual([search?.application, search?.open, search?.lastHour], ['search', 7, 3])
  const hours = (ms: number | null | undefined): number =>
    Math.round((ms ?? Number.NaN) / 3_600_000)
  assert.equal(hours(search?.oldestAgeMs), 2)
  const groups = await readDeadLetterGroups(pool, 2)
  assert.deepEqual(
    groups.map(({ application, fingerprint, open, lastHour, oldestAgeMs }) => [
      `${application}/${fingerprint}`,
      open,
      lastHour,
      hours(oldestAgeMs),
    ]),
    [
      ['search/aa', 4, 0, 2],
      ['search/bb', 3, 3, 0],
    ],
  )
  await pool.query(`update millrace.dead_letter set state = 'discarded' where application = 'mail'`)
  const [closed] = await readOpenDeadLetters(pool)
  assert.deepEqual([closed?.open, closed?.oldestAgeMs, closed?.lastHour], [0, null, 1])
})

test('a look at 50,000 open dead letters reads the kept groups and one entry of an index each', async (t) => {
  const { pool } = await testDatabase(t)
  await pool.query(
    `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, value)
     select 'app' || n % 3, 'index', 'apply', '{"class":"Error","message":"no"}', 1, md5((n % 50)::text), 'x'
     from generate_series(1, 50000) n`,
  )
  await foldDeadLetterGroups(pool)
  await pool.query('vacuum analyze millrace.dead_letter')
  const read = async (look: (db: pg.PoolClient) => Promise<unknown>): Promise<number> => {
    const client = await pool.connect()
    try {
      await client.query('begin')
      const before = await buffers(client)
      await look(client)
      return (await buffers(client)) - before
    } finally {
      await client.query('rollback')
      client.release()
    }
  }
  const total = (await readOpenDeadLetters(pool)).reduce((sum, { open }) => sum + open, 0)
  assert.equal(total, 50_000)
  const fetched = [
    await read((db) => readOpenDeadLetters(db)),
    await read((db) => readDeadLetterGroups(db, 20)),
  ]
  t.diagnostic(`tuples of millrace.dead_letter fetched: ${fetched.join(', ')}`)
  assert.ok(fetched.every((n) => n <= 200))
})

/** Rows of dead letters that this transaction has read so far, by whatever way. */
async function buffers(client: pg.PoolClient): Promise<number> {
  const { rows } = await client.query<{ n: string }>(
    `select (pg_stat_get_xact_tuples_returned('millrace.dead_letter'::regclass)
       + coalesce((select sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_index
         where indrelid = 'millrace.dead_letter'::regclass), 0))::text as n`,
  )
  return Number(rows[0]?.n)
}
