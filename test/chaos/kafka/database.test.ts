import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import test from 'node:test'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { adminUrl, testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { postgresProxy } from '../../support/proxy.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { databaseCrashes } from '../database-crashes.ts'
import { kill } from '../many-processes.ts'
import { unknownCommits } from '../unknown-commits.ts'
import { kafkaAdmin } from './operating.ts'

test('survives crashes of the database while the log is in Kafka', async (t) => {
  const run = await databaseCrashes(t, { crashes: 2, log: await sharedKafka() })
  await run.pass()
})

test('finds out what became of a COMMIT while the log is in Kafka', async (t) => {
  const run = await unknownCommits(t, ['of a batch', 'of a job'], { log: await sharedKafka() })
  await run.pass()
})

test('survives crashes of the database while all that is published goes through the outbox', async (t) => {
  const run = await databaseCrashes(t, { crashes: 3, log: await sharedKafka(), outbox: true })
  const { echoes = [] } = await run.pass()
  assert.ok(echoes.length > 0)
})

test('finds out what became of a COMMIT while all that is published goes through the outbox', async (t) => {
  const log = await sharedKafka()
  const whose = ['of a publisher', 'of a batch', 'of a job'] as const
  const run = await unknownCommits(t, whose, { log, outbox: true })
  const { echoes = [] } = await run.pass()
  assert.ok(echoes.length > 0)
})

test('passes over an aborted transaction although the COMMIT of that is lost', async (t) => {
  const log = await sharedKafka()
  const database = await testDatabase(t)
  const proxy = await postgresProxy(database.url)
  cleanup(t, async () => proxy[Symbol.asyncDispose]())
  const run = await ChaosRun.begin(t, {
    name: 'a gap whose commit is lost',
    database,
    url: proxy.through(database.url),
    log,
    partitions: 1,
    workers: { transactionTimeoutMs: 5_000, takeOverMs: 10_000 },
  })
  const worker = run.worker({ name: 'worker' })
  await worker.ready()
  await run.producer.produce(20)
  await run.quiet(40_000)
  const client = new Kafka({ brokers: [log.brokers].flat(), logLevel: logLevel.NOTHING })
  const id = `gap-${randomUUID()}`
  const producer = client.producer({
    transactionalId: id,
    maxInFlightRequests: 1,
    idempotent: true,
  })
  await producer.connect()
  cleanup(t, () => producer.disconnect())
  const noticed = {
    request: () => worker.logged('a batch failed and is tried again'),
    reply: () => worker.logged('the reply to COMMIT was lost; the transaction had committed'),
  }
  for (const side of ['request', 'reply'] as const) {
    const at = Date.now()
    const before = noticed[side]()
    const cut = proxy.cutCommit(side, ({ statements }) =>
      statements.includes('millrace:position-advance'),
    )
    const tx = await producer.transaction()
    await tx.send({ topic: run.topic, messages: [{ partition: 0, value: 'never' }] })
    await tx.abort()
    const { statements } = await cut
    await eventually(() => noticed[side]() > before)
    await eventually(async () => (await run.unread()) === 0)
    run.fault(`cut of the ${side} to COMMIT`, 'of a gap', at, {
      seen: !statements.includes('millrace:job-insert'),
      text: `behind ${statements.join()}`,
    })
    await run.producer.produce(20)
    await run.quiet(40_000)
  }
  assert.equal(
    worker.logged('reading a partition failed; its position is looked at anew'),
    0,
    'a database that is away is waited for',
  )
  await run.pass()
})

test('reads again what a database restored to an earlier state has forgotten, whatever Kafka says', async (t) => {
  const log = await sharedKafka()
  const database = await testDatabase(t)
  const admin = new pg.Client({ connectionString: adminUrl() })
  await admin.connect()
  cleanup(t, () => admin.end())
  const run = await ChaosRun.begin(t, {
    name: 'a restored database',
    database,
    log,
    partitions: 1,
    restored: true,
  })
  const backup = `${database.name}_backup`
  cleanup(t, async () => {
    await admin.query(`drop database if exists ${backup} with (force)`)
  })
  /** Nobody is connected while `change` is made. */
  const alone = async (...changes: readonly string[]): Promise<void> => {
    await admin.query(`alter database ${database.name} allow_connections false`)
    await eventually(async () => {
      await admin.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = $1',
        [database.name],
      )
      const { rowCount } = await admin.query('select from pg_stat_activity where datname = $1', [
        database.name,
      ])
      return rowCount === 0
    })
    for (const change of changes) await admin.query(change)
    await admin.query(`alter database ${database.name} allow_connections true`)
  }
  const committed = async (): Promise<bigint | undefined> => {
    const [group] = await kafkaAdmin(t, log.brokers).listConsumerGroupOffsets({ groups: ['chaos'] })
    return group?.topics.find(({ name }) => name === run.topic)?.partitions[0]?.committedOffset
  }
  const position = async (): Promise<string | undefined> => {
    const { rows } = await run.pool.query<{ next: string }>(
      'select next_offset::text as next from millrace.position',
    )
    return rows[0]?.next
  }

  const first = run.worker({ name: 'first' })
  await run.producer.produce(40)
  await run.quiet(40_000)
  await kill(run, first)
  await alone(`create database ${backup} template ${database.name}`)

  const second = run.worker({ name: 'second' })
  await run.producer.produce(60)
  await run.quiet(40_000)
  await eventually(async () => (await committed()) === 100n)
  await kill(run, second)
  const at = Date.now()
  await alone(
    `drop database ${database.name}`,
    `alter database ${backup} rename to ${database.name}`,
  )
  const rewound = await eventually(position)
  const hint = await committed()
  run.fault('restored', 'database', at, {
    seen: rewound === '40' && hint === 100n,
    text: `the position is ${rewound} again, Kafka says ${hint}`,
  })
  run.worker({ name: 'third' })
  await run.producer.produce(20)
  await run.quiet(40_000)
  const { batches } = await run.pass()
  assert.ok(batches.some((batch) => batch.first === 40n))
})
