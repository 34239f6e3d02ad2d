import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import pg from 'pg'
import type { Topic } from '../../../src/log/port.ts'
import { readOnce, record, valueOf } from '../../conformance/log/harness.ts'
import { tableLogHarness } from '../../support/table-log.ts'

async function setup(t: TestContext) {
  const harness = await tableLogHarness(t)
  const topic = await harness.log.createTopic('orders', { partitions: 1 })
  const { rows } = await harness.pool.query<{ class: number; sequence: string }>(
    'select lock_class as class, sequence::text from millrace.log_partition where topic_id = $1',
    [topic.id],
  )
  const partition = rows[0] as (typeof rows)[0]
  const horizon = async (): Promise<bigint> =>
    (await harness.log.offsets(topic.id))[0]?.end ?? assert.fail('no partition')
  const append = async (value: string): Promise<bigint> =>
    (await harness.log.append([record('orders', value)]))[0]?.offset ?? assert.fail('not appended')
  return { ...harness, topic, partition, horizon, append }
}

async function valuesFrom(
  log: Parameters<typeof readOnce>[0],
  topic: Topic,
  offset = 0n,
): Promise<string[]> {
  return (await readOnce(log, topic, { offset })).records.map(valueOf)
}

/** A session of its own, ended with the test. */
async function session(t: TestContext, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {
    // Some tests end it from outside.
  })
  await client.connect()
  t.after(() => client.end())
  return client
}

test('readers stop below an open writer, and nobody else holds them back', async (t) => {
  const { log, url, topic, begin, append, horizon } = await setup(t)
  const stranger = await session(t, url)
  await stranger.query('begin; create table stranger (id int); insert into stranger values (1)')
  const first = await append('first')
  const open = await begin()
  const [bound] = await open.append([record('orders', 'open')])
  for (let n = 0; n < 50; n += 1) await append(`meanwhile ${n}`)
  assert.equal(await horizon(), bound?.offset)
  assert.deepEqual(await valuesFrom(log, topic), ['first'])
  await open.commit()
  assert.equal(await horizon(), first + 52n)
  assert.equal((await valuesFrom(log, topic)).length, 52)
  await stranger.query('rollback')
})

test('a rollback to a savepoint takes back the lock and the memory of it', async (t) => {
  const { log, url, topic, append, horizon } = await setup(t)
  const client = await session(t, url)
  await client.query('begin; savepoint s')
  const [gone] = await log.append([record('orders', 'gone')], { tx: client })
  await append('a')
  assert.equal(await horizon(), gone?.offset)
  await client.query('rollback to savepoint s')
  assert.deepEqual(await valuesFrom(log, topic), ['a'])
  const [again] = await log.append([record('orders', 'again')], { tx: client })
  await append('b')
  assert.equal(await horizon(), again?.offset)
  assert.deepEqual(await valuesFrom(log, topic), ['a'])
  await client.query('commit')
  assert.deepEqual(await valuesFrom(log, topic), ['a', 'again', 'b'])
})

test('a released savepoint leaves its lock with the transaction', async (t) => {
  const { log, url, topic, append } = await setup(t)
  const client = await session(t, url)
  await client.query('begin; savepoint s')
  await log.append([record('orders', 'early')], { tx: client })
  await client.query('release savepoint s; savepoint s2')
  await log.append([record('orders', 'gone')], { tx: client })
  await client.query('rollback to savepoint s2')
  await append('b')
  assert.deepEqual(await valuesFrom(log, topic), [])
  await client.query('commit')
  assert.deepEqual(await valuesFrom(log, topic), ['early', 'b'])
})

test('a transaction takes one lock per partition, however often it appends', async (t) => {
  const { log, url, pool, begin } = await setup(t)
  await log.createTopic('films', { partitions: 3 })
  const open = await begin()
  for (let n = 0; n < 20; n += 1) {
    await open.append([0, 1, 2].map((partition) => record('films', 'x', { partition })))
  }
  const { rows } = await pool.query<{ count: number }>(
    `select count(*)::int from pg_locks where locktype = 'advisory' and mode = 'ShareLock'
     and database = (select oid from pg_database where datname = current_database())`,
  )
  assert.equal(rows[0]?.count, 3)
  await open.rollback()
  // The setting that remembers them is local to the transaction: the next one takes its own.
  const client = await session(t, url)
  for (let n = 0; n < 2; n += 1) {
    await client.query('begin')
    const [appended] = await log.append([record('orders', `${n}`)], { tx: client })
    const [range] = await log.offsets(appended?.topicId ?? '')
    assert.equal(range?.end, appended?.offset)
    await client.query('commit')
  }
})

test('bounds are right on both sides of every turn of their 32 bits', async (t) => {
  const { log, pool, topic, partition, begin, append, horizon } = await setup(t)
  for (const turn of [2n ** 31n, 2n ** 32n, 2n ** 32n + 2n ** 31n, 2n ** 33n, 2n ** 53n]) {
    for (const before of [3n, 2n, 1n, 0n]) {
      await pool.query('truncate millrace.record')
      await pool.query('select setval($1, $2)', [partition.sequence, turn - before - 1n])
      const open = await begin()
      const [bound] = await open.append([record('orders', 'open')])
      assert.equal(bound?.offset, turn - before)
      for (let n = 0; n < 5; n += 1) await append('meanwhile')
      assert.equal(await horizon(), turn - before, `${before} before ${turn}`)
      const range = await readOnce(log, topic, { offset: turn - before })
      assert.deepEqual([range.records, range.nextOffset], [[], turn - before])
      await open.commit()
      assert.equal(await horizon(), turn - before + 6n)
      assert.equal((await valuesFrom(log, topic, turn - before)).length, 6)
    }
  }
})

test('a bound lower than what was read sends no reader back', async (t) => {
  const { log, url, topic, partition, append } = await setup(t)
  for (let n = 0; n < 5; n += 1) await append(`${n}`)
  const { nextOffset } = await readOnce(log, topic)
  assert.equal(nextOffset, 5n)
  // A writer that looked at the sequence before those five, and takes its lock only now.
  const late = await session(t, url)
  await late.query('begin')
  await late.query('select pg_advisory_xact_lock_shared($1, 0)', [partition.class])
  const { history, ...result } = await readOnce(log, topic, { offset: nextOffset })
  assert.equal(history, 'table')
  assert.deepEqual(
    { ...result, records: result.records.length },
    { topicId: topic.id, partition: 0, records: 0, nextOffset: 5n, logStart: 0n, end: 0n },
  )
  const [range] = await log.offsets(topic.id)
  assert.deepEqual([range?.end, range?.appendOffset], [0n, 5n])
  await late.query('commit')
  assert.equal((await readOnce(log, topic, { offset: nextOffset })).end, 5n)
})

test('a bound above what a reader saw of the sequence does not count', async (t) => {
  const { url, pool, topic, partition, append } = await setup(t)
  await append('0')
  const writer = await session(t, url)
  await writer.query('begin')
  await writer.query('select pg_advisory_xact_lock_shared($1, $2)', [partition.class, 1_000])
  const { rows } = await pool.query<{ horizon: string }>(
    'select horizon from millrace.log_horizon(array[$1]::uuid[], array[0])',
    [topic.id],
  )
  assert.equal(rows[0]?.horizon, '1')
  await writer.query('rollback')
})

test('a writer that is ended by force no longer holds readers back', async (t) => {
  const { log, url, pool, topic, append } = await setup(t)
  const victim = await session(t, url)
  const { rows } = await victim.query<{ pid: number }>('select pg_backend_pid() as pid')
  await victim.query('begin')
  await log.append([record('orders', 'lost')], { tx: victim })
  await append('kept')
  assert.deepEqual(await valuesFrom(log, topic), [])
  await pool.query('select pg_terminate_backend($1, 10000)', [rows[0]?.pid])
  assert.deepEqual(await valuesFrom(log, topic), ['kept'])
})

test('a reader with an old snapshot is refused, because it would pass over commits', async (t) => {
  const { url, topic, append } = await setup(t)
  await append('x')
  const client = await session(t, url)
  await client.query('begin isolation level repeatable read')
  await assert.rejects(
    client.query('select * from millrace.log_horizon(array[$1]::uuid[], array[0])', [topic.id]),
    { code: '55000', message: /read committed/ },
  )
  await client.query('rollback')
})
