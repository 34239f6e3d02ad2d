import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import pg from 'pg'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import { examine } from '../../../src/app/doctor.ts'
import type { Millrace } from '../../../src/app/start.ts'
import { createCore } from '../../../src/core/core.ts'
import { event } from '../../../src/events/event.ts'
import { acceptOutbox, listOutbox } from '../../../src/outbox/queries.ts'
import { cleanup } from '../../support/cleanup.ts'
import { adminUrl, testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { onKafka, readCommitted, relayed, type KafkaMillrace } from '../../support/outbox.ts'
import { eventually } from '../../support/wait.ts'
import { cliIn } from '../cli/run-cli.ts'

const topic = `restored-${randomUUID()}`
const noted = event('NOTED', {
  source: 'TEST',
  topic,
  schema: z.object({ run: z.string(), n: z.int() }),
  key: () => 'k',
})

interface Bed {
  readonly brokers: readonly string[]
  readonly name: string
  readonly url: string
  /** Starts a millrace on a database. */
  start(url: string): Promise<KafkaMillrace>
  publish(millrace: Millrace, from: number, to: number, tx?: pg.Client): Promise<void>
  /** The numbers of this test's records in Kafka, in order. */
  seen(): Promise<number[]>
}

async function bed(t: TestContext): Promise<Bed> {
  const { brokers } = await sharedKafka()
  // Its pool is not used: nobody may be connected to a database that is copied.
  const { name, url } = await testDatabase(t)
  const run = randomUUID()
  return {
    brokers,
    name,
    url,
    start: (at) =>
      onKafka(t, brokers, {
        database: at,
        topics: { [topic]: { partitions: 1 } },
        queues: false,
        upkeep: false,
      }),
    async publish(millrace, from, to, client) {
      const data = Array.from({ length: to - from + 1 }, (_, i) => ({ run, n: from + i }))
      if (client === undefined) await millrace.transaction((tx) => tx.publishMany(noted, data))
      else await millrace.publishMany(noted, data, { tx: client })
    },
    async seen() {
      const all = (await readCommitted(brokers, topic)).map(
        ({ value }) => JSON.parse(value ?? 'null') as { run: string; n: number },
      )
      return all.filter((one) => one.run === run).map(({ n }) => n)
    },
  }
}

/** A copy of a database under another name, as a restored back-up is one. */
async function copy(t: TestContext, from: string): Promise<{ name: string; url: string }> {
  const name = `${from}_${randomUUID().slice(0, 8)}`
  await admin(`create database ${name} template ${from}`)
  cleanup(t, () => admin(`drop database if exists ${name} with (force)`))
  const url = new URL(adminUrl())
  url.pathname = `/${name}`
  return { name, url: url.href }
}

async function admin(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl() })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}

async function halted(millrace: Millrace): Promise<string> {
  return eventually(async () => {
    const shards = await listOutbox(millrace.database)
    return shards.find(({ state }) => state === 'halted')?.reason ?? undefined
  }) as Promise<string>
}

/** Writes down in which transaction a shard is let go on, and in which the audit says so. */
const WATCH_ACCEPTS = `
  create table if not exists accept_seen (xid text not null default pg_current_xact_id()::text, what text not null);
  create or replace function note_accept() returns trigger language plpgsql as
    $$ begin insert into accept_seen (what) values (tg_argv[0]); return null; end $$;
  create or replace trigger accept_seen after update on millrace.outbox_shard for each row
    when (new.accepted is not null and new.accepted is distinct from old.accepted) execute function note_accept('shard');
  create or replace trigger accept_seen after insert on millrace.operator_action for each row
    when (new.action = 'outbox.accept' and new.operator = 'test') execute function note_accept('audit')`

/** Lets everything go on that is halted; one row of the audit, of the same transaction, says so. */
async function accept({ database: pool }: Millrace): Promise<void> {
  const halted = (await listOutbox(pool)).filter(({ state }) => state === 'halted')
  const shards = halted.map(({ shard }) => ({ shard, behind: null }))
  await pool.query(WATCH_ACCEPTS)
  await acceptOutbox({ core: createCore(), pool, user: 'test' }, shards)
  const { rows } = await pool.query<{ audits: number; accepted: number }>(
    `with seen as (delete from accept_seen returning *)
     select count(*) filter (where what = 'audit')::int as audits, count(*) filter (where what = 'shard')::int as accepted
     from seen group by xid`,
  )
  assert.deepEqual(rows, [{ audits: 1, accepted: shards.length }])
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe('a database that was restored', () => {
  it('is noticed, sends nothing, says so, and goes on without doubles when an operator says from where', async (t) => {
    const { name, url, brokers, start, publish, seen } = await bed(t)
    const first = await start(url)
    await publish(first.millrace, 1, 10)
    await relayed(first.millrace)
    await first.millrace.stop()
    // The back-up has records that were not relayed yet.
    const idle = await onKafka(t, brokers, { database: url, relay: false, queues: false })
    await publish(idle.millrace, 11, 12)
    await idle.millrace.stop()
    const backUp = await copy(t, name)
    const again = await start(url)
    await publish(again.millrace, 13, 20)
    await relayed(again.millrace)
    await again.millrace.stop()
    assert.deepEqual(await seen(), range(1, 20))

    const restored = await start(backUp.url)
    assert.match(await halted(restored.millrace), /restored/)
    await publish(restored.millrace, 101, 110)
    assert.equal((await restored.millrace.summary()).outboxHalted, 1)
    assert.ok(
      restored.lines.some(({ level, message }) => level === 'error' && /stopped/.test(message)),
    )
    await using operator = await connectOperator({ database: backUp.url })
    const check = (await examine(operator, { listenMs: 100 })).find(({ id }) => id === 'outbox')
    assert.equal(check?.state, 'failure')
    assert.deepEqual(await seen(), range(1, 20))

    const cli = await cliIn(t, backUp.url)
    const shown = await cli.run(['outbox', 'status', '--json'])
    const { items } = JSON.parse(shown.stdout) as {
      items: { state: string; waiting: number; shard: number }[]
    }
    const stopped = items.filter(({ state }) => state === 'halted')
    assert.deepEqual(
      stopped.map(({ waiting }) => waiting),
      [12],
    )
    const accepted = await cli.run([
      'outbox',
      'accept',
      '--all',
      '--behind',
      'sent',
      '--user',
      'ana',
    ])
    assert.equal(accepted.code, 0, accepted.stderr)
    const { rows } = await restored.millrace.database.query<{ operator: string; count: string }>(
      `select operator, count from millrace.operator_action where action = 'outbox.accept'`,
    )
    assert.deepEqual(rows, [{ operator: 'ana', count: '1' }])
    await relayed(restored.millrace)
    assert.deepEqual(await seen(), [...range(1, 20), ...range(101, 110)])
    assert.equal((await restored.millrace.summary()).outboxHalted, 0)
    await publish(restored.millrace, 111, 112)
    await relayed(restored.millrace)
    assert.deepEqual((await seen()).slice(-2), [111, 112])
  })

  it('is noticed when it has drawn as many offsets again before anybody looked', async (t) => {
    const { name, url, brokers, start, publish, seen } = await bed(t)
    const first = await start(url)
    await publish(first.millrace, 1, 5)
    await relayed(first.millrace)
    await first.millrace.stop()
    const backUp = await copy(t, name)
    const again = await start(url)
    await publish(again.millrace, 6, 10)
    await relayed(again.millrace)
    await again.millrace.stop()

    const idle = await onKafka(t, brokers, { database: backUp.url, relay: false, queues: false })
    await publish(idle.millrace, 101, 120)
    const restored = await start(backUp.url)
    assert.match(await halted(restored.millrace), /another one here/)
    const [shard] = (await listOutbox(restored.millrace.database)).filter(
      ({ state }) => state === 'halted',
    )
    assert.equal(shard?.sent, null)
    await accept(restored.millrace)
    await relayed(restored.millrace)
    assert.deepEqual(await seen(), [...range(1, 10), ...range(101, 120)])
  })

  it('is noticed by a relay that lives through it idle, before the numbers are drawn again', async (t) => {
    const { url, start, publish, seen } = await bed(t)
    const { millrace } = await start(url)
    await publish(millrace, 1, 5)
    await relayed(millrace)
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    cleanup(t, () => client.end())
    await client.query(
      `create table saved_shard as table millrace.outbox_shard;
       create table saved_offset as select last_value from millrace.outbox_offset`,
    )
    await publish(millrace, 6, 10)
    await relayed(millrace)
    // What a replica has that lagged: nobody's connection breaks where a pooler hides the change.
    await client.query(
      `begin;
       truncate millrace.outbox_record;
       update millrace.outbox_shard s set relayed = b.relayed, relayed_hash = b.relayed_hash
       from saved_shard b where b.shard = s.shard;
       select setval('millrace.outbox_offset', last_value) from saved_offset;
       commit`,
    )
    await publish(millrace, 101, 103)
    assert.match(await halted(millrace), /has not come that far/)
    await publish(millrace, 104, 110)
    await accept(millrace)
    await relayed(millrace)
    assert.deepEqual(await seen(), [...range(1, 10), ...range(101, 110)])
  })

  it('is noticed by a relay that lives through it idle, when the numbers are drawn again already', async (t) => {
    const { url, start, publish, seen } = await bed(t)
    const { millrace } = await start(url)
    await publish(millrace, 1, 5)
    await relayed(millrace)
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    cleanup(t, () => client.end())
    await client.query('create table saved_shard as table millrace.outbox_shard')
    await publish(millrace, 6, 10)
    await relayed(millrace)
    // A replica takes the place that had the first five only, and others have published there: nobody sees a state between,
    // and all connections break.
    await client.query('begin; lock table millrace.outbox_record in access exclusive mode')
    await client.query('truncate millrace.outbox_record')
    await publish(millrace, 101, 120, client)
    await client.query(
      `update millrace.outbox_record set "offset" = "offset" - 5;
       update millrace.outbox_shard s set relayed = b.relayed, relayed_hash = b.relayed_hash
       from saved_shard b where b.shard = s.shard;
       select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid();
       commit`,
    )
    assert.match(await halted(millrace), /another one here/)
    await accept(millrace)
    await relayed(millrace)
    assert.deepEqual(await seen(), [...range(1, 10), ...range(101, 120)])
  })

  it('is noticed when only its rows were put back', async (t) => {
    const { url, start, publish, seen } = await bed(t)
    const first = await start(url)
    await publish(first.millrace, 1, 5)
    await relayed(first.millrace)
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    cleanup(t, () => client.end())
    await client.query('create table saved_shard as table millrace.outbox_shard')
    await publish(first.millrace, 6, 10)
    await relayed(first.millrace)
    await first.millrace.stop()
    await client.query('truncate millrace.outbox_record')
    await client.query(
      `update millrace.outbox_shard s set relayed = b.relayed, relayed_hash = b.relayed_hash
       from saved_shard b where b.shard = s.shard`,
    )
    const restored = await start(url)
    assert.match(await halted(restored.millrace), /is not here/)
    assert.deepEqual(await seen(), range(1, 10))
  })
})

describe('a copy of a database', () => {
  it('sends nothing until it is accepted, and its original goes on', async (t) => {
    const { name, url, start, publish, seen } = await bed(t)
    const first = await start(url)
    await publish(first.millrace, 1, 5)
    await relayed(first.millrace)
    await first.millrace.stop()
    const { url: copyUrl } = await copy(t, name)
    const original = await start(url)
    const twin = await start(copyUrl)
    assert.match(await halted(twin.millrace), /one of them is a copy/)
    await publish(twin.millrace, 101, 105)
    await publish(original.millrace, 6, 10)
    await relayed(original.millrace)
    assert.deepEqual(await seen(), range(1, 10))
  })
})

describe('a log that is not the one it was', () => {
  it('is noticed when the topic of the cursors is gone', async (t) => {
    const { url, start, publish, seen } = await bed(t)
    const first = await start(url)
    await publish(first.millrace, 1, 5)
    await relayed(first.millrace)
    const { rows } = await first.millrace.database.query<{ id: string }>(
      'select id from millrace.outbox_identity',
    )
    const { log } = first.millrace
    await first.millrace.stop()
    assert.equal(log.kind, 'kafka')
    const other = await start(await copyOfNothing(t))
    await other.millrace.log.deleteTopic(`millrace.outbox.${rows[0]?.id}`)
    await other.millrace.stop()
    const again = await start(url)
    assert.match(await halted(again.millrace), /no cursor/)
    await publish(again.millrace, 6, 10)
    await accept(again.millrace)
    await relayed(again.millrace)
    assert.deepEqual(await seen(), range(1, 10))
  })
})

/** Another database, for somebody who only needs the log. */
async function copyOfNothing(t: TestContext): Promise<string> {
  return (await testDatabase(t)).url
}
