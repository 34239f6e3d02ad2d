import assert from 'node:assert/strict'
import test from 'node:test'
import pg from 'pg'
import { adminUrl, testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
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
