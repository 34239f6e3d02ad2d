import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createCore } from '../../src/core/core.ts'
import { acceptOutbox, listOutbox } from '../../src/outbox/queries.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { migrate } from '../../src/postgres/migrate.ts'
import { cleanup } from '../support/cleanup.ts'
import { testDatabase } from '../support/database.ts'
import { sharedKafka } from '../support/kafka.ts'
import { postgresProxy, type Commit, type CutSide } from '../support/proxy.ts'
import { PROMOTED, replicatedPostgres, timeline } from '../support/standby.ts'
import { eventually } from '../support/wait.ts'
import { isStopped } from '../support/process.ts'
import { crashed, crashingServer } from './database-crashes.ts'
import { RelayRun } from './relay-run.ts'

const COMMITTED = 'the reply to COMMIT was lost; the transaction had committed'

/** Of a transaction that publishes. */
const publishes = ({ statements }: Commit): boolean => statements.includes('millrace:outbox-append')

test('loses, doubles and misorders nothing when the database crashes under publishers and relays', async (t) => {
  const { brokers } = await sharedKafka()
  const { server, pool } = await crashingServer(t)
  await migrate(pool)
  const proxy = await postgresProxy(server.url())
  cleanup(t, async () => proxy[Symbol.asyncDispose]())
  const url = proxy.through(server.url())
  const run = await RelayRun.begin(t, brokers, { database: server.url(), url, hit: true })
  const crash = async (signal: 'SIGKILL' | 'SIGQUIT'): Promise<void> => {
    const { seen, text } = await crashed({ server, pool }, signal)
    assert.ok(seen, text)
  }
  run.startWriting()

  // A relay has committed records in Kafka, and the database that is to hear of it is gone.
  const stopped = run.relay({ name: 'relay:before-note', count: 3, signal: 'SIGSTOP' })
  await stopped.trapped()
  await crash('SIGKILL')
  assert.ok(isStopped(stopped.pid))
  stopped.kill('SIGCONT')
  await run.moreRelayed(200)

  // A publisher's COMMIT is done, its reply is lost, and the server that knows of it is gone.
  const other = run.relay()
  await other.waitFor('ready', { timeoutMs: 60_000 })
  const before = run.heard('E_DB_UNKNOWN_COMMIT')
  await proxy.cutCommit('reply', publishes)
  // At once, so that nobody asks the server that knows.
  const letThrough = proxy.cutOff()
  await crash('SIGKILL')
  letThrough()
  await eventually(() => run.heard('E_DB_UNKNOWN_COMMIT') > before)
  await run.moreRelayed(200)

  // When it happens is part of the chance; nothing waits for it.
  await sleep(run.random.next() * 500)
  await crash('SIGQUIT')
  await run.moreRelayed(200)
  await run.stopWriting()
  await run.pass()
})

test('finds out what became of the COMMIT of a publisher, whichever way it was lost', async (t) => {
  const { brokers } = await sharedKafka()
  const { url: database } = await testDatabase(t)
  const proxy = await postgresProxy(database)
  cleanup(t, async () => proxy[Symbol.asyncDispose]())
  const url = proxy.through(database)
  const run = await RelayRun.begin(t, brokers, { database, url, hit: true })
  await run.relay().waitFor('ready', { timeoutMs: 60_000 })
  run.startWriting()
  await run.moreRelayed(100)
  const found = {
    request: () => run.heard('E_DB_CONNECT'),
    reply: () => run.lines.filter(({ message }) => message === COMMITTED).length,
  }
  for (const side of ['request', 'reply', 'reply', 'request'] satisfies CutSide[]) {
    const before = found[side]()
    await proxy.cutCommit(side, publishes)
    await eventually(() => found[side]() > before)
    await run.moreRelayed(100)
  }
  await run.stopWriting()
  await run.pass()
  assert.equal(run.heard('E_DB_UNKNOWN_COMMIT'), 0)
})

test('sends what a standby that lagged knows when an operator says so, and doubles nothing else', async (t) => {
  const { brokers } = await sharedKafka()
  const database = await replicatedPostgres(t)
  const pool = createPool(database.url, { max: 5 })
  pool.on('error', () => {
    // Its server is going to be killed.
  })
  cleanup(t, () => pool.end())
  await migrate(pool)
  const run = await RelayRun.begin(t, brokers, { database: database.url, hit: true })
  const facts = async (): Promise<number> => {
    const { rows } = await pool.query<{ n: number }>('select count(*)::integer as n from fact')
    return rows[0]?.n ?? 0
  }
  const relays = [run.relay(), run.relay()]
  await Promise.all(relays.map((relay) => relay.waitFor('ready', { timeoutMs: 60_000 })))
  run.startWriting()
  await run.moreRelayed(200)
  database.cutStream()
  // The standby knows of nothing that comes now.
  const known = await facts()
  await run.moreRelayed(200)
  const before = await facts()
  await database.failOver()
  run.forget()
  assert.equal(await timeline(pool), PROMOTED)
  assert.ok(known < before, `the standby knew of ${known} facts at least, the primary of ${before}`)

  await run.more(200)
  await run.stopWriting()
  const accepted = new Set<number>()
  const core = createCore()
  await eventually(async () => {
    const halted = (await listOutbox(pool)).filter((one) => one.state === 'halted' && !one.accepted)
    const shards = halted.map(({ shard }) => ({ shard, behind: null }))
    if (shards.length > 0) await acceptOutbox({ core, pool, user: 'test' }, shards)
    for (const { shard } of shards) accepted.add(shard)
    const { outbox, outboxAgeMs } = await run.millrace.summary()
    return outbox === 0 && outboxAgeMs === null
  })
  assert.ok(accepted.size > 0)
  await run.pass()
})
