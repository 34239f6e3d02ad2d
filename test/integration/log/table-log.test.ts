import assert from 'node:assert/strict'
import { test } from 'node:test'
import pg from 'pg'
import { createCore } from '../../../src/core/core.ts'
import { TableLog } from '../../../src/log/table-log.ts'
import { createPool } from '../../../src/postgres/connect.ts'
import { cleanup } from '../../support/cleanup.ts'
import { postgresProxy } from '../../support/proxy.ts'
import { wakeLog } from '../../../src/log/wake.ts'
import { Listener } from '../../../src/postgres/listener.ts'
import { readAll, readOnce, record, valueOf } from '../../conformance/log/harness.ts'
import { tableLogHarness } from '../../support/table-log.ts'
import { eventually } from '../../support/wait.ts'

test('a purge is seen as a purge, never as a hole', async (t) => {
  const { log, peer } = await tableLogHarness(t)
  const topic = await log.createTopic('orders', { partitions: 1 })
  for (let n = 0; n < 20; n += 1) {
    await log.append(Array.from({ length: 100 }, (_, i) => record('orders', `${n * 100 + i}`)))
  }
  const purging = (async () => {
    for (let before = 20n; before <= 2_000n; before += 20n) await peer.purge(topic.id, 0, before)
  })()
  let purged = 0
  for (let offset = 0n; offset < 2_000n; ) {
    const result = await readOnce(log, topic, { offset, maxRecords: 7 })
    if (result.outOfRange === 'before-start') {
      purged += 1
      assert.ok(result.logStart > offset)
      offset = result.logStart
      continue
    }
    for (const one of result.records) {
      assert.equal(one.offset, offset, 'a record is missing and nobody said so')
      offset += 1n
    }
  }
  await purging
  t.diagnostic(`overtaken ${purged} times`)
})

test('a purge of more than one piece deletes everything below', async (t) => {
  const { log, pool } = await tableLogHarness(t)
  const topic = await log.createTopic('orders', { partitions: 1 })
  for (let n = 0; n < 6; n += 1) {
    await log.append(Array.from({ length: 2_000 }, () => record('orders', 'x')))
  }
  assert.equal(await log.purge(topic.id, 0, 11_990n), 11_990n)
  const { rows } = await pool.query<{ count: number }>('select count(*)::int from millrace.record')
  assert.equal(rows[0]?.count, 10)
  await log.deleteTopic('orders')
  const { rows: left } = await pool.query<{ left: number }>(
    `select (select count(*) from millrace.record)::int + (select count(*) from millrace.log_partition)::int
       + (select count(*) from pg_class where relname ~ '^log_[0-9a-f]{32}_')::int as left`,
  )
  assert.equal(left[0]?.left, 0)
})

test('a topic with an open writer is not deleted, and its other users do not wait for long', async (t) => {
  const { log, begin } = await tableLogHarness(t)
  const topic = await log.createTopic('orders', { partitions: 1 })
  const open = await begin()
  await open.append([record('orders', 'open')])
  await assert.rejects(log.deleteTopic('orders'), { code: '55P03' })
  await open.commit()
  assert.deepEqual((await readAll(log, topic, 1)).map(valueOf), ['open'])
  await log.deleteTopic('orders')
  assert.equal(await log.topic('orders'), undefined)
})

test("a name that has changed its meaning ends the caller's transaction, and is known anew after it", async (t) => {
  const { log, peer, begin } = await tableLogHarness(t)
  await log.createTopic('orders', { partitions: 1 })
  await log.append([record('orders', 'known')])
  await peer.deleteTopic('orders')
  const again = await peer.createTopic('orders', { partitions: 1 })
  const failed = await begin()
  await assert.rejects(failed.append([record('orders', 'x')]), {
    code: 'E_LOG_UNKNOWN_TOPIC',
    retryable: true,
  })
  await failed.rollback()
  const repeated = await begin()
  await repeated.append([record('orders', 'x')])
  await repeated.commit()
  assert.deepEqual((await readAll(log, again, 1)).map(valueOf), ['x'])
})

test('topics deleted while others read and append harm nobody else', async (t) => {
  const { log, peer } = await tableLogHarness(t)
  const steady = await log.createTopic('steady', { partitions: 1 })
  let changing = true
  const change = (async () => {
    for (let n = 0; n < 15; n += 1) {
      await peer.createTopic('passing', { partitions: 2 })
      await peer.deleteTopic('passing')
    }
    changing = false
  })()
  let appended = 0
  while (changing) {
    const passing = await log.topic('passing')
    const results = await log.read([
      { topic: 'passing', topicId: passing?.id ?? '', partition: 0, offset: 0n },
      { topic: 'steady', topicId: steady.id, partition: 0, offset: BigInt(appended) },
    ])
    assert.equal(results[1]?.outOfRange, undefined)
    await log.append([record('passing', 'x', { partition: 1 })]).catch((error: unknown) => {
      assert.equal((error as { code?: string }).code, 'E_LOG_UNKNOWN_TOPIC', String(error))
    })
    await log.append([record('steady', String(appended))])
    appended += 1
  }
  await change
  assert.equal((await readAll(log, steady, appended)).length, appended)
})

test('lock numbers are used again when all have had their turn', async (t) => {
  const { log, pool } = await tableLogHarness(t)
  await log.createTopic('first', { partitions: 2 })
  await pool.query(`select setval('millrace.log_lock_number', 65534)`)
  await log.createTopic('second', { partitions: 3 })
  const { rows } = await pool.query<{ numbers: number[] }>(
    'select array_agg(lock_class - 1297219584 order by 1) as numbers from millrace.log_partition',
  )
  assert.deepEqual(
    rows[0]?.numbers.sort((a, b) => a - b),
    [0, 1, 2, 3, 65_535],
  )
})

test('bytes are read from a server that writes them in the old form', async (t) => {
  const { log, url } = await tableLogHarness(t)
  const topic = await log.createTopic('orders', { partitions: 1 })
  const value = Uint8Array.from({ length: 256 }, (_, n) => n)
  await log.append([{ topic: 'orders', key: null, value, headers: [] }])
  const pool = new pg.Pool({ connectionString: url, max: 1, options: '-c bytea_output=escape' })
  try {
    const { records } = await readOnce(new TableLog({ core: createCore(), pool }), topic)
    assert.deepEqual([...(records[0]?.value ?? [])], [...value])
  } finally {
    await pool.end()
  }
})

test('one connection that breaks is no reason not to read, two are', async (t) => {
  const { log, url } = await tableLogHarness(t)
  const topic = await log.createTopic('orders', { partitions: 1 })
  await log.append([record('orders', '1')])
  const proxy = await postgresProxy(url)
  cleanup(t, async () => proxy[Symbol.asyncDispose]())
  const pool = createPool(proxy.through(url))
  pool.on('error', () => {})
  cleanup(t, () => pool.end())
  const theirs = new TableLog({ core: createCore(), pool })
  const label = 'millrace:log-fetch'
  const cut = proxy.cutStatement('request', label)
  const { records } = await readOnce(theirs, topic)
  assert.deepEqual(records.map(valueOf), ['1'])
  await cut
  const cuts = [proxy.cutStatement('request', label), proxy.cutStatement('reply', label)]
  await assert.rejects(readOnce(theirs, topic), /terminated|ECONNRESET/)
  await Promise.all(cuts)
})

test('an append is told to other processes, and one in a transaction when its caller says so', async (t) => {
  const { log, pool, url, begin } = await tableLogHarness(t)
  const orders = await log.createTopic('orders', { partitions: 1 })
  const core = createCore()
  const theirs = new pg.Pool({ connectionString: url, max: 2 })
  const listener = new Listener({ core, pool: theirs })
  const other = new TableLog({ core, pool: theirs, listener })
  try {
    const told: string[] = []
    other.onAppend((ids) => told.push(...ids))
    listener.start()
    await eventually(() => listener.listening)
    await log.append([record('orders', '1')])
    await eventually(() => told.includes(orders.id))
    told.length = 0
    const open = await begin()
    const [appended] = await open.append([record('orders', '2')])
    await open.commit()
    await wakeLog(pool, [appended?.topicId ?? ''])
    await eventually(() => told.includes(orders.id))
  } finally {
    await other.close()
    await listener.stop()
    await theirs.end()
  }
})

test('wake-ups about very many topics fit into their notifications', async (t) => {
  const { pool, url } = await tableLogHarness(t)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const heard: string[] = []
    client.on('notification', ({ payload }) => heard.push(...(payload ?? '').slice(4).split(',')))
    await client.query('listen millrace')
    const ids = Array.from({ length: 450 }, () => createCore().ids.uuid())
    await wakeLog(pool, ids)
    await eventually(() => heard.length === ids.length)
    assert.deepEqual(heard, ids)
  } finally {
    await client.end()
  }
})

test('a read takes its records from the index', async (t) => {
  const { log, pool } = await tableLogHarness(t)
  const topic = await log.createTopic('orders', { partitions: 2 })
  for (let n = 0; n < 10; n += 1) {
    await log.append(
      Array.from({ length: 2_000 }, (_, i) => record('orders', `${i}`, { partition: i % 2 })),
    )
  }
  await pool.query('analyze millrace.record')
  const before = await scans(pool)
  for (let n = 0; n < 20; n += 1) {
    const { records } = await readOnce(log, topic, { partition: 1, offset: 5_000n, maxRecords: 10 })
    assert.equal(records.length, 10)
  }
  const after = await scans(pool)
  assert.equal(after.whole, before.whole)
  assert.ok(
    after.rows - before.rows < 20 * 20,
    `${after.rows - before.rows} rows for 20 reads of 10`,
  )
})

async function scans(pool: pg.Pool): Promise<{ whole: number; rows: number }> {
  // What idle sessions have counted is only reported when asked for.
  await Promise.all(
    Array.from({ length: 10 }, () => pool.query('select pg_stat_force_next_flush()')),
  )
  await pool.query('select pg_stat_clear_snapshot()')
  const { rows } = await pool.query<{ whole: number; rows: number }>(
    `select seq_scan::int as whole, idx_tup_fetch::int as rows
     from pg_stat_user_tables where schemaname = 'millrace' and relname = 'record'`,
  )
  return rows[0] ?? { whole: 0, rows: 0 }
}
