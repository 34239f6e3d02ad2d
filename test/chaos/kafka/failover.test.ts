import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { createPool } from '../../../src/postgres/connect.ts'
import { migrate } from '../../../src/postgres/migrate.ts'
import { cleanup } from '../../support/cleanup.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { PROMOTED, replicatedPostgres, timeline } from '../../support/standby.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { underLoad } from '../load.ts'
import { kafkaAdmin } from './operating.ts'

const NEXT = 'select coalesce(sum(next_offset), 0)::int as next from millrace.position'

/** How many records of the log the positions of a database stand behind. */
async function nextIn(db: pg.Pool | pg.Client): Promise<number> {
  const { rows } = await db.query<{ next: number }>(NEXT)
  return rows[0]?.next ?? 0
}

/** A pair of servers under load of two workers, and what is seen of it. */
async function pair(
  t: TestContext,
  { synchronous, outbox = false }: { readonly synchronous: boolean; readonly outbox?: boolean },
) {
  const database = await replicatedPostgres(t, { synchronous })
  const pool = createPool(database.url, { max: 5 })
  pool.on('error', () => {
    // Its server is going to be killed.
  })
  cleanup(t, () => pool.end())
  await migrate(pool)
  const log = await sharedKafka()
  const run = await ChaosRun.begin(t, {
    name: `a fail-over to a ${synchronous ? 'synchronous' : 'lagging'} standby`,
    database: { url: database.url, pool },
    log,
    outbox,
    restored: !synchronous,
    workers: { batchRecords: 10 },
  })
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  const standby = new pg.Pool({ connectionString: database.standbyUrl, max: 1 })
  standby.on('error', () => {})
  cleanup(t, () => standby.end())
  const end = underLoad(run)
  await eventually(async () => (await nextIn(standby)) > 100)
  return { database, pool, run, standby, end, log }
}

test('reads again what a lagging standby does not know of, whatever Kafka says', async (t) => {
  const { database, pool, run, standby, end, log } = await pair(t, { synchronous: false })
  const admin = kafkaAdmin(t, log.brokers)
  const hinted = async (): Promise<number> => {
    const [group] = await admin.listConsumerGroupOffsets({ groups: ['chaos'] })
    const partitions = group?.topics.find(({ name }) => name === run.topic)?.partitions ?? []
    return partitions.reduce((sum, { committedOffset }) => sum + Number(committedOffset), 0)
  }
  database.cutStream()
  const known = await nextIn(standby)
  await eventually(async () => (await nextIn(pool)) > known + 100 && (await hinted()) > known + 50)
  const at = Date.now()
  const [before, hint] = [await nextIn(pool), await hinted()]
  await database.failOver()
  const line = await timeline(pool)
  run.fault('fail-over', 'database', at, {
    // Nothing reached the standby after the cut, so what it does not know of is lost.
    seen: known < before && line === PROMOTED,
    text: `positions: ${before} on the primary, ${known} on the standby, ${hint} according to Kafka; timeline ${line}`,
  })
  await sleep(1_000)
  await end()
  await run.quiet(60_000)
  const { batches } = await run.pass()
  assert.ok(batches.length > 0)
})

test('loses and doubles nothing at a fail-over to a synchronous standby, nor does the outbox', async (t) => {
  const { database, run, pool, end } = await pair(t, { synchronous: true, outbox: true })
  const { rows: streams } = await pool.query<{ sync_state: string }>(
    'select sync_state from pg_stat_replication',
  )
  const at = Date.now()
  await database.failOver()
  const line = await timeline(pool)
  const states = streams.map(({ sync_state: state }) => state).join()
  run.fault('fail-over', 'database', at, {
    seen: states === 'sync' && line === PROMOTED,
    text: `the stream was ${states}; the timeline is ${line}`,
  })
  await sleep(1_000)
  await end()
  await run.quiet(60_000)
  await run.pass()
})
