import assert from 'node:assert/strict'
import { access, readFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import pg from 'pg'
import { breakageOf } from '../../apps/shop/src/tills/till-record.ts'
import { adminUrl, testDatabase, type TestDatabase } from '../support/database.ts'
import { parseExposition } from '../support/exposition.ts'
import { eventually } from '../support/wait.ts'
import { cliIn } from '../integration/cli/run-cli.ts'
import { audit, auditFigures } from './shop/audit.ts'
import {
  shopHome,
  startShop,
  workOff,
  type ShopProcess,
  type ShopProcessOptions,
} from './shop/shop-process.ts'

interface Setup {
  readonly home: string
  readonly database: TestDatabase
  readonly shop: (args: readonly string[], options?: Partial<ShopProcessOptions>) => ShopProcess
  readonly finish: () => ReturnType<typeof workOff>
}

async function setup(t: TestContext): Promise<Setup> {
  const home = await shopHome(t)
  const database = await testDatabase(t)
  const where = ['--database-url', database.url]
  return {
    home,
    database,
    shop: (args, options) => startShop(t, [...where, '--json', ...args], { home, ...options }),
    finish: () => workOff(t, where, { home }),
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

it('makes every purchase one order with its events, commission and mail, or a dead letter', async (t) => {
  const { home, database, shop, finish } = await setup(t)
  const first = shop(['--rate', '500', '--for', '3s'])
  assert.deepEqual(await first.exited, { code: 0, signal: null }, first.stderr)
  const last = await finish()
  const expected = await audit(database.pool, home)
  auditFigures(last, expected)
  assert.ok(expected.purchases > 400, `${expected.purchases} purchases in 3 s`)
  const kinds = new Set(expected.broken.map((number) => breakageOf(number)))
  assert.equal(kinds.size, 3, 'all kinds of broken purchases came')
})

it('shows the mail of a purchase in the trace of its order', async (t) => {
  const { database, shop } = await setup(t)
  const running = shop(['--rate', '20'])
  await running.line(({ mails }) => mails > 0)
  running.kill('SIGINT')
  assert.equal((await running.exited).code, 0, running.stderr)
  const { rows } = await database.pool.query<{ id: string; message: string }>(
    `select j.id, m.message_id as message from millrace.job_history j
     join shop_mail.sent_mail m on m.order_id = j.args ->> 'orderId' where j.kind = 'order.send-confirmation' limit 1`,
  )
  const { id, message } = rows[0] ?? assert.fail('no mail was sent')
  const cli = await cliIn(t, database.url)
  const traced = await cli.run(['trace', id])
  assert.equal(traced.code, 0, traced.stderr)
  assert.match(traced.stdout, /· till-purchases\/\d+\/\d+ ·/)
  assert.match(traced.stdout, /ORDER_PLACED/)
  assert.doesNotMatch(traced.stdout, /not found/)
  assert.match(traced.stdout, /effect.*mail\.sent/)
  assert.ok(traced.stdout.includes(message), traced.stdout)
})

it('prints its figures once a second as lines of JSON, counted since the first start', async (t) => {
  const { shop } = await setup(t)
  const first = shop(['--rate', '20', '--for', '3s'])
  await first.exited
  assert.ok(first.lines.length >= 3, first.stdout)
  assert.equal(first.stdout.trim().split('\n').length, first.lines.length)
  const second = shop(['--rate', '20', '--for', '1s'])
  await second.exited
  const all = [...first.lines, ...second.lines]
  const names = [
    'at',
    'events',
    'handled',
    'jobsCompleted',
    'attemptsFailed',
    'deadLetters',
    'deadLettersOpen',
    'deadLettersLastHour',
    'deadLetterAgeMs',
    'backlog',
    'lag',
    'outboxAgeMs',
  ]
  for (const [index, line] of all.entries()) {
    for (const name of names) assert.ok(name in line, name)
    const before = all[index - 1] ?? line
    for (const name of ['at', 'events', 'handled', 'jobsCompleted', 'purchases'] as const) {
      assert.ok(line[name] >= before[name], `${name} of line ${index}: ${JSON.stringify(line)}`)
    }
  }
  assert.ok((second.lines[0]?.purchases ?? 0) >= (first.lines.at(-1)?.purchases ?? 0))
})

it('goes on where it was stopped and where it was killed, and neither loses nor doubles', async (t) => {
  const { home, database, shop, finish } = await setup(t)
  await shop(['--rate', '200', '--for', '2s']).exited
  const killed = shop(['--rate', '200'])
  await killed.line(
    ({ purchases, mails, backlog }) => purchases > 700 && mails > 100 && backlog > 0,
  )
  killed.kill('SIGKILL')
  assert.deepEqual(await killed.exited, { code: null, signal: 'SIGKILL' })
  const third = shop(['--rate', '100', '--for', '2s'])
  assert.equal((await third.exited).code, 0, third.stderr)
  const last = await finish()
  const expected = await audit(database.pool, home)
  assert.ok(expected.purchases > 700)
  assert.deepEqual(
    [last.purchases, last.jobsCompleted, last.deadLetters],
    [expected.purchases, expected.orders.length, expected.broken.length],
  )
})

it('serves its figures for Prometheus, and says where', async (t) => {
  const { shop } = await setup(t)
  const running = shop(['--rate', '20'])
  await running.line(({ mails }) => mails > 0)
  const [, url = ''] =
    /^Figures for Prometheus: (http:\/\/127\.0\.0\.1:\d+\/metrics)$/m.exec(running.stderr) ?? []
  const metrics = parseExposition(await (await fetch(url)).text())
  const applications = metrics
    .get('millrace_consumer_lag')
    ?.samples.map(({ labels }) => labels['application'])
  assert.deepEqual(new Set(applications), new Set(['orders', 'commissions', 'mail']))
  running.kill('SIGINT')
  assert.equal((await running.exited).code, 0, running.stderr)
})

it('finishes what is on the way after one Ctrl-C, and ends with 0', async (t) => {
  const { home, database, shop } = await setup(t)
  const running = shop(['--rate', '20'], { launcher: true })
  await running.line(({ mails }) => mails > 20)
  running.kill('SIGINT')
  assert.deepEqual(await running.exited, { code: 0, signal: null }, running.stderr)
  assert.match(running.stderr, /nothing is left to do/)
  auditFigures(running.lines.at(-1) ?? assert.fail('no figures'), await audit(database.pool, home))
})

it('ends with 130 at once after the second Ctrl-C, and repairs what was left at the next start', async (t) => {
  const { home, database, shop, finish } = await setup(t)
  const running = shop(['--rate', '100'])
  await running.line(({ mails }) => mails > 20)
  const client = await database.pool.connect()
  try {
    // While somebody holds this table, draining cannot come to an end.
    await client.query('begin; lock table shop_commissions.commission')
    await eventually(async () => {
      const { rows } = await database.pool.query(
        `select 1 from pg_locks where relation = 'shop_commissions.commission'::regclass and not granted`,
      )
      return rows.length > 0
    })
    running.kill('SIGINT')
    await running.says(/Ctrl-C again: stop now/)
    const began = performance.now()
    let ended = false
    void running.exited.then(() => {
      ended = true
    })
    await eventually(
      () => {
        running.kill('SIGINT')
        return ended
      },
      { intervalMs: 200 },
    )
    assert.ok(performance.now() - began < 10_000)
    assert.deepEqual(await running.exited, { code: 130, signal: null })
  } finally {
    await client.query('rollback')
    client.release()
  }
  await finish()
  await audit(database.pool, home)
})

it('forgets everything it has made with --reset, and nothing else', async (t) => {
  const { home, database, shop } = await setup(t)
  await database.pool.query(
    'create schema theirs; create table theirs.kept (); create table kept ()',
  )
  await shop(['--rate', '200', '--for', '2s']).exited
  const reset = shop(['--rate', '0', '--for', '1s', '--reset'])
  assert.equal((await reset.exited).code, 0, reset.stderr)
  assert.match(
    reset.stderr,
    /Dropping the schemas millrace, shop_commissions, shop_mail, shop_orders, shop_tills/,
  )
  const expected = await audit(database.pool, home)
  assert.deepEqual(expected, { purchases: 0, broken: [], orders: [] })
  auditFigures(reset.lines.at(-1) ?? assert.fail('no figures'), expected)
  await database.pool.query('select from theirs.kept, kept')
})

it("does not reset a database that is not the shop's", async (t) => {
  const { shop, database } = await setup(t)
  const refused = shop(['--reset', '--for', '1s'])
  assert.equal((await refused.exited).code, 1)
  assert.match(refused.stderr, /a schema millrace that is not the shop's/)
  await database.pool.query('select from millrace.record')
})

it('goes on when its database was away for a while, and says so', async (t) => {
  const { home, database, shop, finish } = await setup(t)
  const admin = new pg.Client({ connectionString: adminUrl() })
  await admin.connect()
  try {
    const running = shop(['--rate', '100'])
    await running.line(({ mails }) => mails > 20)
    await admin.query(`alter database ${database.name} allow_connections false`)
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [
      database.name,
    ])
    const down = await running.line((figures) => figures.database === 'down')
    await running.says(/The database cannot be reached/)
    await admin.query(`alter database ${database.name} allow_connections true`)
    await running.line((line) => line.database === 'up' && line.mails > down.mails + 50)
    await running.says(/The database is back/)
    running.kill('SIGTERM')
    assert.equal((await running.exited).code, 0, running.stderr)
  } finally {
    await admin.query(`alter database ${database.name} allow_connections true`)
    await admin.end()
  }
  await finish()
  await audit(database.pool, home)
})

it('can be stopped while its database is away, and goes on later', async (t) => {
  const { home, database, shop, finish } = await setup(t)
  const admin = new pg.Client({ connectionString: adminUrl() })
  await admin.connect()
  try {
    const running = shop(['--rate', '100'])
    await running.line(({ mails }) => mails > 20)
    await admin.query(`alter database ${database.name} allow_connections false`)
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [
      database.name,
    ])
    await running.line((figures) => figures.database === 'down')
    const began = performance.now()
    running.kill('SIGTERM')
    assert.equal((await running.exited).code, 0, running.stderr)
    assert.ok(performance.now() - began < 120_000, running.stderr)
  } finally {
    await admin.query(`alter database ${database.name} allow_connections true`)
    await admin.end()
  }
  await finish()
  await audit(database.pool, home)
})

it('goes on printing figures while its database answers nothing', async (t) => {
  const { database, shop } = await setup(t)
  const running = shop(['--rate', '100'])
  await running.line(({ mails }) => mails > 20)
  const client = await database.pool.connect()
  try {
    // The shop may hold one of them and want the other: then PostgreSQL ends somebody, and it may be us.
    await eventually(async () => {
      await client.query('rollback')
      await client.query('begin; lock table millrace.count_delta, shop_tills.progress')
      return true
    })
    const before = running.lines.length
    await running.line(({ database: state }) => state === 'down')
    assert.ok(running.lines.length >= before + 4, running.stdout)
  } finally {
    await client.query('rollback')
    client.release()
  }
  await running.says(/The database is back/)
  running.kill('SIGTERM')
  assert.equal((await running.exited).code, 0, running.stderr)
})

it('runs twice on one database without getting in its own way', async (t) => {
  const { home, database, shop, finish } = await setup(t)
  const both = [shop(['--rate', '60', '--for', '4s']), shop(['--rate', '60', '--for', '3s'])]
  for (const one of both) assert.equal((await one.exited).code, 0, one.stderr)
  await finish()
  const { purchases } = await audit(database.pool, home)
  assert.ok(purchases > 200, String(purchases))
})

it('drains and ends when nobody reads its output any more', async (t) => {
  const { shop } = await setup(t)
  const running = shop(['--rate', '20'])
  await running.line(({ mails }) => mails > 5)
  running.closeOutput()
  assert.deepEqual(await running.exited, { code: 0, signal: null })
  assert.match(running.stderr, /nobody reads the output any more/)
})

it('does not begin on another log than before, says what to do, and tells of partitions that are stopped', async (t) => {
  const { database, shop, finish } = await setup(t)
  await shop(['--for', '2s']).exited
  const refused = shop(['--kafka', '127.0.0.1:1'])
  assert.deepEqual(await refused.exited, { code: 1, signal: null })
  assert.match(refused.stderr, /began with its events in Postgres.*without --kafka.*--reset/)
  await finish()
  await database.pool.query(
    "update millrace.position set halted = 'by hand' where application = 'mail' and partition = 0",
  )
  const ended = shop(['--rate', '0', '--for', '2s'])
  assert.equal((await ended.line(({ database: is }) => is === 'up')).partitionsHalted, 1)
  assert.deepEqual(await ended.exited, { code: 0, signal: null })
  assert.match(ended.stderr, /One partition is stopped until somebody decides/)
  assert.doesNotMatch(ended.stderr, /nothing is left to do/)
})

it('explains an option that it does not know, with exit code 2', async (t) => {
  const home = await shopHome(t)
  const refused = startShop(t, ['--fast'], { home, launcher: true })
  assert.deepEqual(await refused.exited, { code: 2, signal: null })
  assert.match(refused.stderr, /^unknown option --fast\n\nThe shop:/)
  assert.equal(refused.stdout, '')
  const helped = startShop(t, ['--help'], { home })
  assert.deepEqual(await helped.exited, { code: 0, signal: null })
  assert.match(helped.stdout, /^The shop:/)
})

it('says what is wrong with a database that cannot be reached, with exit code 1', async (t) => {
  const home = await shopHome(t)
  const url = 'postgres://me:secret@127.0.0.1:1/shop'
  const refused = startShop(t, ['--database-url', url], { home })
  assert.deepEqual(await refused.exited, { code: 1, signal: null })
  assert.match(refused.stderr, /E_DB_CONNECT.*Nothing listens there/)
  assert.doesNotMatch(refused.stderr + (await readFile(join(home, 'shop.log'), 'utf8')), /secret/)
})

it('brings its own PostgreSQL along, keeps its data, and starts it again when that is killed', async (t) => {
  const home = await shopHome(t)
  const first = startShop(t, ['--rate', '50', '--for', '2s'], { home, launcher: true })
  assert.deepEqual(await first.exited, { code: 0, signal: null }, first.stderr)
  const before = first.lines.at(-1) ?? assert.fail('no figures')
  assert.ok(before.purchases > 0 && before.mails > 0, first.stdout)
  assert.equal(await isThere(join(home, 'connection.json')), false)

  const second = startShop(t, ['--rate', '50'], { home })
  const begun = await second.line(() => true)
  assert.ok(begun.purchases >= before.purchases)
  const twin = startShop(t, ['--reset'], { home })
  assert.deepEqual(await twin.exited, { code: 1, signal: null })
  assert.match(twin.stderr, /E_DB_CONNECT: .* in use by process \d+/)
  const connection = join(home, 'connection.json')
  assert.equal((await stat(connection)).mode & 0o777, 0o600)
  const { databaseUrl } = JSON.parse(await readFile(connection, 'utf8')) as { databaseUrl: string }
  const pool = new pg.Pool({ connectionString: databaseUrl })
  pool.on('error', () => {
    // Its server is killed below.
  })
  try {
    const { rows } = await pool.query<{ pid: string }>(
      "select split_part(pg_read_file('postmaster.pid'), e'\\n', 1) as pid",
    )
    process.kill(Number(rows[0]?.pid), 'SIGKILL')
    await second.says(/Starting the embedded database again/)
    const down = await second.line(({ database }) => database === 'down')
    await second.line((line) => line.database === 'up' && line.mails > down.mails + 20)
    second.kill('SIGTERM')
    await second.says(/finishing what is on the way/)
  } finally {
    await pool.end()
  }
  assert.deepEqual(await second.exited, { code: 0, signal: null }, second.stderr)

  const reset = startShop(t, ['--rate', '0', '--for', '1s', '--reset'], { home })
  assert.equal((await reset.exited).code, 0, reset.stderr)
  assert.equal(reset.lines.at(-1)?.purchases, 0)
  assert.deepEqual(await readdir(join(home, 'mailbox', 'new')), [])
})
