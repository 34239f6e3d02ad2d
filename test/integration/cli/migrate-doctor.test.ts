import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { describe, it } from 'node:test'
import { checkListening } from '../../../src/app/doctor-database.ts'
import { createCore } from '../../../src/core/core.ts'
import { testDatabase } from '../../support/database.ts'
import { assertHarmless, cliWithDatabase } from './run-cli.ts'

interface DoctorDocument {
  readonly checks: readonly {
    readonly id: string
    readonly state: string
    readonly fix?: string
    readonly found: string
  }[]
  readonly summary: { readonly ok: number; readonly warnings: number; readonly failures: number }
}

const LIVE = `insert into millrace.process (id, name, applications, expires_at)
  values (gen_random_uuid(), $1, $2, clock_timestamp() + $3 * interval '1 second')`
const UPKEEP = `insert into millrace.lease (name, expires_at) values ('upkeep', clock_timestamp() + interval '1 minute')
  on conflict (name) do update set expires_at = excluded.expires_at`

describe('millrace migrate', () => {
  it('shows what is pending, applies it, and then has nothing to do', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query('drop schema millrace cascade')
    const profile = new RegExp(
      `^profile default · db ${cli.name}@127\\.0\\.0\\.1:\\d+ · log table · user \\S+\\n`,
    )

    const dry = await cli.run(['migrate', '--dry-run', '--detailed-exitcode'])
    assert.equal(dry.code, 3)
    assert.match(dry.stdout, /^would apply 0001_/)
    assert.match(dry.stderr, profile)
    const status = await cli.run(['migrate', 'status', '--json'])
    assert.equal(status.code, 0)
    const { applied, pending } = JSON.parse(status.stdout) as {
      applied: string[]
      pending: string[]
    }
    assert.deepEqual(applied, [])
    assert.ok(pending.length > 0)

    const done = await cli.run(['migrate', '--json'])
    assert.equal(done.code, 0)
    assert.deepEqual(JSON.parse(done.stdout), { dryRun: false, applied: pending, pending: [] })
    assert.match(done.stderr, profile)
    const again = await cli.run(['migrate'])
    assert.equal(again.code, 0)
    assert.equal(again.stdout, '')
    assert.match(again.stderr, /nothing to do/)
    assert.equal((await cli.run(['migrate', 'status', '--detailed-exitcode'])).code, 0)
  })

  it('says so when the database is of newer code', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(
      `insert into millrace.migration (version, name, checksum) values (9999, '9999_later', 'x')`,
    )
    const { code, stderr } = await cli.run(['migrate', 'status'])
    assert.equal(code, 1)
    assert.match(stderr, /9999_later[^]*E_DB_MIGRATION/)
  })
})

describe('millrace doctor', () => {
  it('finds nothing wrong where all is well', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(LIVE, ['me', [], 60])
    await cli.pool.query(UPKEEP)
    const result = await cli.run(['doctor', '--json'])
    const { checks, summary } = JSON.parse(result.stdout) as DoctorDocument
    assert.equal(result.code, 0)
    assert.equal(summary.failures, 0)
    const ids = checks.map(({ id }) => id)
    for (const id of [
      'node.version',
      'database.reachable',
      'database.listen',
      'database.clock',
      'database.fsync',
      'database.synchronous-commit',
      'database.connections',
      'database.autovacuum',
      'database.idle-in-transaction',
      'migrations',
      'history.partitions',
      'consumer.halted',
      'consumer.paused',
      'process.liveness',
      'process.upkeep',
    ]) {
      assert.ok(ids.includes(id), id)
    }
    assert.equal(checks.find(({ id }) => id === 'database.listen')?.state, 'ok')
    assert.ok(checks.every(({ state, fix }) => (state === 'ok') === (fix === undefined)))
    const text = await cli.run(['doctor'])
    assert.match(text.stdout, /^✓ Node/)
    assert.match(text.stderr, / ok · \d+ warnings · 0 failures · address from DATABASE_URL/)
  })

  it('warns when no process is alive: exit 3 only when asked for', async (t) => {
    const cli = await cliWithDatabase(t)
    assert.equal((await cli.run(['doctor'])).code, 0)
    const detailed = await cli.run(['doctor', '--detailed-exitcode'])
    assert.equal(detailed.code, 3)
    assert.match(detailed.stdout, /^! processes.*none is alive[^]*fix: millrace start/m)
  })

  it('warns about what is paused, for pauses are forgotten', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(
      `insert into millrace.pause (application, topic, partition, paused_by, reason, expires_at) values
         ('search', 'products', 3, 'ana', E'rebuilt\u001b[2J', null), ('mail', null, null, 'bob', 'over', '2020-01-01')`,
    )
    const { code, stdout } = await cli.run(['doctor'])
    assert.equal(code, 0)
    assert.match(
      stdout,
      /^! paused consumers +1: search\/products\/3 by ana \(rebuilt\\x1b\[2J\)$/m,
    )
  })

  it('tells what is open per application and for the largest groups, with how to look into each', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(
      `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, created_at)
       select app, 'index', 'apply', '{"class":"TypeError","message":"no \\"x\\" \\u001b[2J"}', 1, print,
         clock_timestamp() - interval '3 hours'
       from (values ('search', 'aaaaaaaaaaaaaaaa', 12), ('mail', 'bbbbbbbbbbbbbbbb', 2), (null, '', 1)) v(app, print, n),
         generate_series(1, n)`,
    )
    // What nobody of ours writes.
    await cli.pool.query(
      `update millrace.dead_letter set error = '{"class":1}' where application is null`,
    )
    const { code, stdout } = await cli.run(['doctor'])
    assert.equal(code, 0)
    assertHarmless(stdout)
    assert.match(
      stdout,
      /^! dead letters +search: 12 open, 12 within the last hour, the oldest for 3 h; mail: 2 open, [^;]*; of no application: 1 open/m,
    )
    assert.match(
      stdout,
      /^! aaaaaaaaaaaaaaaa +search\/index TypeError: no <text> \S+: 12 open, .*\n.*fix: millrace dlq list --group aaaaaaaaaaaaaaaa$/m,
    )
    assert.match(
      stdout,
      /^! no fingerprint +of no application\/index unknown: .*\n.*--group none$/m,
    )
    assert.doesNotMatch(stdout, /^.. alerts/m)
    await cli.pool.query(
      `update millrace.dead_letter set state = case application when 'search' then 'parked' else 'discarded' end
       where application is distinct from 'mail'`,
    )
    assert.match(
      (await cli.run(['doctor'])).stdout,
      /^! dead letters +mail: 2 open, [^;]*; search: 12 parked/m,
    )
    await cli.pool.query(`update millrace.dead_letter set state = 'parked'`)
    assert.match(
      (await cli.run(['doctor'])).stdout,
      /^! dead letters +search: 12 parked; .*\n.*millrace dlq groups --state parked$/m,
    )
    await cli.pool.query(`update millrace.dead_letter set state = 'discarded'`)
    const ok = await cli.run(['doctor', '--json'])
    const { checks } = JSON.parse(ok.stdout) as DoctorDocument
    assert.equal(checks.find(({ id }) => id === 'dead-letters')?.found, 'none is open')
  })

  it('warns when copies of dead letters wait for long, or for nobody', async (t) => {
    const cli = await cliWithDatabase(t)
    const found = async (): Promise<string[]> => {
      const { stdout } = await cli.run(['doctor'])
      return Array.from(stdout.matchAll(/^(.) copies to (\S+) +(.*)$/gm), ([, ...parts]) =>
        parts.join(' '),
      )
    }
    assert.deepEqual(await found(), [])
    await cli.pool.query(`insert into millrace.dead_letter_export (application) values ('search')`)
    assert.deepEqual(await found(), ['✓ search.dead none is due'])
    await cli.pool.query(
      `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, created_at, exported)
       select app, 'index', 'apply', '{"class":"E","message":"no"}', 1, 'aa', at, 'due'
       from (values ('search', '2026-11-01 10:00Z'::timestamptz, 11), ('search', '2026-11-01 09:00Z', 1),
         ('mail', '2026-11-02 10:00Z', 2)) v(app, at, n), generate_series(1, n)`,
    )
    assert.deepEqual(await found(), [
      '! mail.dead letters due for export: 2, the oldest since 2026-11-02 10:00:00Z',
      '! search.dead letters due for export: 12, the oldest since 2026-11-01 09:00:00Z',
    ])
    const { stdout } = await cli.run(['doctor'])
    assert.match(stdout, /fix: Nobody copies them any more: start 'mail' with exportDeadLetters/)
    assert.match(stdout, /fix: Run 'search', and let it make and write the topic/)
    // New ones are not late, and of very many it is not known how many.
    await cli.pool.query(
      `update millrace.dead_letter set exported = case application when 'search' then 'due' else 'failed' end,
         created_at = clock_timestamp()`,
    )
    await cli.pool.query(
      `insert into millrace.dead_letter (application, handler, stage, error, attempts, fingerprint, exported)
       select 'search', 'index', 'apply', '{}', 1, 'aa', 'due' from generate_series(1, 10_000)`,
    )
    const [only, ...others] = await found()
    assert.match(
      only ?? '',
      /^✓ search\.dead letters due for export: more than 10000, the oldest since 2/,
    )
    assert.deepEqual(others, [])
  })

  it('warns when nobody hears of new failures', async (t) => {
    const cli = await cliWithDatabase(t)
    const found = async (): Promise<string> =>
      /^(.) alerts +(.*)$/m
        .exec((await cli.run(['doctor'])).stdout)
        ?.slice(1)
        .join(' ') ?? ''
    assert.equal(await found(), '')
    await cli.pool.query('insert into millrace.alert_delivery default values')
    assert.equal(await found(), '✓ all are told; none was needed yet')
    await cli.pool.query(
      `insert into millrace.fingerprint (application, fingerprint, open, dead_lettered, first_seen_at, last_seen_at, example)
       values ('search', 'aa', 1, 1, clock_timestamp(), clock_timestamp(), 1)`,
    )
    await cli.pool.query(
      `update millrace.alert_delivery set attempts = 3, trouble = 'it answered 500'`,
    )
    assert.equal(
      await found(),
      '! 1 new failures could not be told, 3 attempts so far: it answered 500',
    )
  })

  it('tells how many events are remembered, and warns when nobody forgets them', async (t) => {
    const cli = await cliWithDatabase(t)
    const found = async (): Promise<string> =>
      /^(.) remembered events +(.*)$/m
        .exec((await cli.run(['doctor'])).stdout)
        ?.slice(1)
        .join(' ') ?? ''
    assert.equal(await found(), '')
    await cli.pool.query(
      `insert into millrace.seen_event (key, topic_id, "offset", expires_at, partition)
       select gen_random_uuid(), gen_random_uuid(), n, clock_timestamp() + interval '1 day', 0 from generate_series(1, 12345) n`,
    )
    assert.match(await found(), /^✓ some, in \d MiB$/)
    await cli.pool.query('analyze millrace.seen_event')
    assert.match(await found(), /^✓ about 12,345, in \d MiB$/)
    await cli.pool.query(
      `update millrace.seen_event set expires_at = clock_timestamp() - interval '3 hours' where "offset" = 7`,
    )
    assert.match(
      await found(),
      /^! about 12,345, in \d MiB; the time of the oldest was over 3 h ago$/,
    )
    const { stdout } = await cli.run(['doctor'])
    assert.match(stdout, /fix: Start at least one process without upkeep: false: it forgets them/)
  })

  it('fails for halted partitions and missing days, on one line each', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(
      `insert into millrace.position (application, topic_id, partition, topic, next_offset, halted)
       values ('search', '01a205a0-d634-7000-8000-000000000001', 3, 'orders', 5, E'gone\\u001b[2J\\nfor ever')`,
    )
    const { rows } = await cli.pool.query<{ part: string }>(
      `select inhrelid::regclass::text as part from pg_inherits where inhparent = 'millrace.job_history'::regclass`,
    )
    for (const { part } of rows) await cli.pool.query(`drop table ${part}`)
    const { code, stdout } = await cli.run(['doctor'])
    assert.equal(code, 1)
    assert.match(stdout, /^✗ halted partitions +1: search orders\/3 \(gone\\x1b\[2J\\nfor ever\)$/m)
    assert.match(stdout, /^✗ history +no partition for today: job_history_\d{8}/m)
  })

  it('warns about a setting that loses commits, and fails for an isolation that the log cannot work in', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query(`alter database ${cli.name} set synchronous_commit = off`)
    await cli.pool.query(
      `alter database ${cli.name} set default_transaction_isolation = 'repeatable read'`,
    )
    const { code, stdout } = await cli.run(['doctor', '--json'])
    assert.equal(code, 1)
    const { checks } = JSON.parse(stdout) as DoctorDocument
    const state = (id: string): string | undefined => checks.find((check) => check.id === id)?.state
    assert.equal(state('database.synchronous-commit'), 'warning')
    assert.equal(state('database.isolation'), 'failure')
  })

  it('says that migrations are pending', async (t) => {
    const cli = await cliWithDatabase(t)
    await cli.pool.query('drop schema millrace cascade')
    const { code, stdout } = await cli.run(['doctor'])
    assert.equal(code, 1)
    assert.match(stdout, /^✗ migrations +0 applied, \d+ pending[^]*fix: millrace migrate/m)
  })
})

describe('the notifications that the doctor sends itself', () => {
  it('are missed when a pooler swallows them', async (t) => {
    const { pool } = await testDatabase(t)
    // A pooler in transaction mode takes LISTEN, and gives the session to somebody else.
    const pooled = {
      query: (text: string, values: unknown[]) => pool.query(text, values),
      async connect() {
        const client = await pool.connect()
        const query = client.query.bind(client) as (text: string) => Promise<unknown>
        const swallowing = (text: string): Promise<unknown> =>
          query(/listen/.test(text) ? 'select 1' : text)
        return Object.assign(client, { query: swallowing })
      },
    }
    const [check] = await checkListening(createCore(), pooled as unknown as typeof pool, 300)
    assert.equal(check?.state, 'warning')
    assert.match(check?.found ?? '', /a pooler in transaction mode swallows them/)
    assert.match(check?.fix ?? '', /session mode/)
  })
})

describe('millrace healthcheck', () => {
  it('is ready when the process renews its heartbeat, and not when it has stopped doing so', async (t) => {
    const cli = await cliWithDatabase(t)
    const before = await cli.run(['healthcheck'])
    assert.equal(before.code, 1)
    assert.match(before.stdout, /^ready: no: no process .*\n$/)
    await cli.pool.query(LIVE, [`${hostname()}:1`, [], 60])
    await cli.pool.query(LIVE, ['mailer-1', [], -1])
    assert.deepEqual(
      await cli.run(['healthcheck', 'ready']).then(({ code, stdout }) => [code, stdout]),
      [0, 'ready: ok\n'],
    )
    const json = await cli.run(['healthcheck', '--json'])
    assert.deepEqual(JSON.parse(json.stdout), { probe: 'ready', ok: true, reason: null })
    assert.equal((await cli.run(['healthcheck', 'live'])).code, 0)
    const lapsed = await cli.run(['healthcheck', 'live', '--name', 'mailer-1'])
    assert.equal(lapsed.code, 1)
    assert.match(lapsed.stdout, /has not renewed its heartbeat in time\n$/)
  })

  it('does not call a process dead because the database is', async (t) => {
    const cli = await cliWithDatabase(t)
    const away = { env: { DATABASE_URL: 'postgres://a:s3cret@127.0.0.1:1/x' } }
    const live = await cli.run(['healthcheck', 'live'], away)
    const ready = await cli.run(['healthcheck', 'ready'], away)
    assert.deepEqual([live.code, ready.code], [0, 1])
    assert.equal(ready.stdout.split('\n').length, 2)
    assert.doesNotMatch(live.stdout + ready.stdout, /s3cret/)
    const json = await cli.run(['healthcheck', 'live', '--json'], away)
    const { ok, reason } = JSON.parse(json.stdout) as { ok: boolean; reason: string }
    assert.equal(ok, true)
    assert.match(reason, /^the database cannot be asked: /)
  })
})
