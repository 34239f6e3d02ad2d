import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../../src/core/clock.ts'
import { createCore } from '../../../src/core/core.ts'
import { Listener, wake } from '../../../src/postgres/listener.ts'
import { knownMigrations, migrate, migrationState } from '../../../src/postgres/migrate.ts'
import { transaction } from '../../../src/postgres/transaction.ts'
import { Heartbeat } from '../../../src/process/heartbeat.ts'
import { createPool } from '../../../src/postgres/connect.ts'
import { cleanup } from '../../support/cleanup.ts'
import { keepingLogger } from '../../support/millrace.ts'
import { testDatabase } from '../../support/database.ts'
import { postgresProxy } from '../../support/proxy.ts'
import { eventually } from '../../support/wait.ts'

const core = createCore()

describe('a transaction', () => {
  it('commits what its function did, and then runs what was to run after', async (t) => {
    const { pool } = await testDatabase(t)
    await pool.query('create table numbers (n int)')
    const seen: unknown[] = []
    const result = await transaction(pool, core, async (tx) => {
      tx.afterCommit(async () => void seen.push((await pool.query('select n from numbers')).rows))
      await tx.query('insert into numbers values (1)')
      return 'done'
    })
    assert.equal(result, 'done')
    assert.deepEqual(seen, [[{ n: 1 }]])
  })

  it('rolls back on an error, runs nothing after, and leaves the pool whole', async (t) => {
    const { pool } = await testDatabase(t)
    await pool.query('create table numbers (n int)')
    await assert.rejects(
      transaction(pool, core, async (tx) => {
        tx.afterCommit(() => assert.fail('nothing was committed'))
        await tx.query('insert into numbers values (1)')
        throw new Error('no')
      }),
      /no/,
    )
    assert.equal((await pool.query('select from numbers')).rowCount, 0)
    assert.equal(pool.idleCount, pool.totalCount)
  })

  it("tells a deferred constraint's error from a lost connection", async (t) => {
    const { pool } = await testDatabase(t)
    await pool.query(
      'create table a (n int primary key); create table b (n int references a deferrable initially deferred)',
    )
    await assert.rejects(
      transaction(pool, core, (tx) => tx.query('insert into b values (1)')),
      { code: '23503' },
    )
  })

  it('says that the database is away at whatever statement of its own the connection breaks', async (t) => {
    const { url } = await testDatabase(t)
    const proxy = await postgresProxy(url)
    cleanup(t, async () => proxy[Symbol.asyncDispose]())
    const pool = createPool(proxy.through(url))
    pool.on('error', () => {})
    cleanup(t, () => pool.end())
    for (const label of ['begin', 'commit-mark']) {
      const cut = proxy.cutStatement('request', `millrace:${label}`)
      const attempt = transaction(pool, core, (tx) => tx.query('create table never (n int)'))
      await assert.rejects(attempt, { code: 'E_DB_CONNECT', retryable: true })
      await cut
    }
  })

  it('does not pass off a failed transaction as committed when the error in it was swallowed', async (t) => {
    const { pool } = await testDatabase(t)
    await assert.rejects(
      transaction(pool, core, async (tx) => {
        await tx.query('select 1 / 0').catch(() => {})
      }),
      { code: '25P02' },
    )
  })

  it('is ended by the server when its owner is silent for too long', async (t) => {
    const { pool } = await testDatabase(t)
    await pool.query('create table numbers (n int)')
    const silence = Promise.withResolvers<void>()
    await assert.rejects(
      transaction(
        pool,
        core,
        async (tx) => {
          await tx.query('insert into numbers values (1)')
          await silence.promise
        },
        { timeoutMs: 100 },
      ),
      { code: '25P03' },
    )
    silence.resolve()
    assert.equal((await pool.query('select from numbers')).rowCount, 0)
  })
})

describe('a transaction whose function hangs', () => {
  it('is left when the server has ended its session, and gives its connection back', async (t) => {
    const { pool } = await testDatabase(t)
    await assert.rejects(
      transaction(pool, core, () => new Promise(() => {}), { timeoutMs: 100 }),
      { code: '25P03' },
    )
    assert.equal(pool.totalCount - pool.idleCount, 0)
  })

  it('says, when it goes on after that, that its time was up and not that the database is away', async (t) => {
    const { pool } = await testDatabase(t)
    const late = Promise.withResolvers<unknown>()
    const ended = Promise.withResolvers<void>()
    const outcome = transaction(
      pool,
      core,
      async (tx) => {
        await ended.promise
        late.resolve(await tx.query('select 1').catch((error: unknown) => error))
      },
      { timeoutMs: 100 },
    )
    await assert.rejects(outcome, { code: '25P03' })
    ended.resolve()
    assert.match(String(await late.promise), /the transaction is over/)
  })
})

describe('migrating', () => {
  it('does nothing the second time, and may be done by several at once', async (t) => {
    const { pool } = await testDatabase(t)
    await pool.query('drop schema millrace cascade')
    const results = await Promise.all([migrate(pool), migrate(pool), migrate(pool)])
    const names = (await knownMigrations()).map(({ name }) => name)
    assert.deepEqual(
      results.map(({ applied }) => applied.length).toSorted((a, b) => a - b),
      [0, 0, names.length],
    )
    assert.deepEqual(await migrationState(pool), { applied: names, pending: [] })
  })

  it('refuses a database that is newer than the code, or whose migrations were edited', async (t) => {
    const { pool } = await testDatabase(t)
    await pool.query(
      `insert into millrace.migration (version, name, checksum) values (9999, '9999_future', 'x')`,
    )
    await assert.rejects(migrate(pool), /was migrated by newer code/)
    await pool.query(
      `delete from millrace.migration where version = 9999; update millrace.migration set checksum = 'y' where version = 1`,
    )
    await assert.rejects(migrate(pool), { code: 'E_DB_MIGRATION' })
  })
})

describe('the listener', () => {
  it('hands wake-ups to those who asked for their subject', async (t) => {
    const { pool } = await testDatabase(t)
    await using listener = new Listener({ core, pool })
    const heard: string[] = []
    listener.on('log', (text) => heard.push(`log ${text}`))
    listener.on('jobs', (text) => heard.push(`jobs ${text}`))
    listener.start()
    await eventually(() => listener.listening)
    heard.length = 0
    await wake(pool, 'log', 'a,b')
    await wake(pool, 'jobs', '5:mail')
    await eventually(() => heard.length === 2)
    assert.deepEqual(heard, ['log a,b', 'jobs 5:mail'])
  })

  it('finds its way back when its connection is cut, and lets everybody look once', async (t) => {
    const { pool } = await testDatabase(t)
    pool.on('error', () => {})
    await using listener = new Listener({ core, pool, pingMs: 50 })
    let looks = 0
    listener.on('jobs', (text) => {
      if (text === '') looks += 1
    })
    listener.start()
    await eventually(() => listener.listening && looks === 1)
    await pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where query like '%millrace:listen%' and pid <> pg_backend_pid()`,
    )
    await eventually(() => looks === 2 && listener.listening)
  })
})

describe('the heartbeat', () => {
  it('never comes back under an id that has lapsed', async (t) => {
    const { pool } = await testDatabase(t)
    await using heartbeat = new Heartbeat({
      core,
      pool,
      applications: ['a'],
      heartbeatMs: 50,
      takeOverMs: 30_000,
    })
    let lapses = 0
    heartbeat.onLapse(() => (lapses += 1))
    await heartbeat.start()
    const first = heartbeat.id
    assert.ok(heartbeat.alive)
    await pool.query(
      `update millrace.process set expires_at = clock_timestamp() - interval '1 second'`,
    )
    await eventually(() => lapses === 1)
    assert.notEqual(heartbeat.id, first)
    const { rows } = await pool.query(
      'select id, expires_at > clock_timestamp() as alive from millrace.process order by alive',
    )
    assert.deepEqual(rows, [
      { id: first, alive: false },
      { id: heartbeat.id, alive: true },
    ])
  })

  it('holds still before the database lets anybody else in', async (t) => {
    const { pool } = await testDatabase(t)
    let now = 0
    const clock = { ...core.clock, monotonicMs: () => now }
    await using heartbeat = new Heartbeat({
      core: { ...core, clock },
      pool,
      applications: [],
      heartbeatMs: 1_000,
      takeOverMs: 3_000,
    })
    await heartbeat.start()
    now = 1_999
    assert.ok(heartbeat.alive)
    now = 2_001
    assert.ok(!heartbeat.alive)
  })

  it('says once that it holds still when nothing gets through any more', async (t) => {
    const { pool } = await testDatabase(t)
    const logger = keepingLogger()
    const waiting: { readonly ms: number; readonly action: () => void; isOff: boolean }[] = []
    const clock: Clock = {
      ...core.clock,
      after(ms, action) {
        const one = { ms, action, isOff: false }
        waiting.push(one)
        return () => {
          one.isOff = true
        }
      },
    }
    await using heartbeat = new Heartbeat({
      core: createCore({ logger, clock }),
      pool,
      applications: [],
      heartbeatMs: 50,
      takeOverMs: 30_000,
    })
    await heartbeat.start()
    await eventually(() => waiting.length > 3)
    // Each heartbeat that gets through takes back what the one before it would have said.
    const on = waiting.filter(({ isOff }) => !isOff)
    assert.deepEqual(on, waiting.slice(-1))
    assert.ok(waiting.every(({ ms }) => ms <= 20_000))
    const said = (): number =>
      logger.lines.filter(({ message }) => message.includes('holds still')).length
    assert.equal(said(), 0)
    on[0]?.action()
    assert.equal(said(), 1)
    await heartbeat.stop()
    assert.ok(waiting.every(({ isOff }) => isOff))
  })
})
