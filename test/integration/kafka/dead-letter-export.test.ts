import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { createCore } from '../../../src/core/core.ts'
import { writeDeadLetters, type NewDeadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { DeadLetterExporter, setExport } from '../../../src/dead-letter/exporter.ts'
import type { Log, LogRecord, Topic } from '../../../src/log/port.ts'
import type { Trap } from '../../chaos/failpoints.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter, recordOf } from '../../support/dead-letters.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { readToEnd } from '../../support/kafka-reading.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { spawnNode, type Scenario } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'
import type { ExportingConfig } from '../dead-letter/exporting-process.ts'

interface Place {
  readonly application: string
  readonly url: string
  readonly brokers: readonly string[]
  readonly pool: pg.Pool
  readonly log: Log
  readonly dead: Topic
  readonly letters: (
    from: number,
    count: number,
    how?: (offset: number) => Partial<NewDeadLetter>,
  ) => Promise<void>
}

/** An application of a name of its own whose dead letters are to be copied to three partitions with these settings. */
async function setup(t: TestContext, topicConfigs: Record<string, string> = {}): Promise<Place> {
  const { pool, url } = await testDatabase(t)
  const { brokers } = await sharedKafka()
  const log = await kafkaLog(t, { brokers }, { topicConfigs })
  const application = `billing-${randomBytes(6).toString('hex')}`
  const dead = await log.createTopic(`${application}.dead`, { partitions: 3 })
  cleanup(t, () => log.deleteTopic(dead.name))
  await setExport(pool, application, true)
  // A leader that has just been made one may refuse without saying whether it has written.
  await eventually(async () =>
    log.append(
      [0, 1, 2].map((partition) => ({
        topic: dead.name,
        partition,
        key: Buffer.from(`first-${partition}`),
        value: null,
        headers: [],
      })),
    ),
  )
  return {
    application,
    url,
    brokers,
    pool,
    log,
    dead,
    letters: async (from, count, how = () => ({})) => {
      const some = Array.from({ length: count }, (_, n) => from + n)
      await writeDeadLetters(
        pool,
        some.map((offset) => deadLetter(offset, { application, ...how(offset) })),
      )
    },
  }
}

function exporting(t: TestContext, { application, pool, log }: Place): void {
  const core = createCore()
  const exporter = new DeadLetterExporter({ core, pool, log, application, intervalMs: 5 })
  cleanup(t, () => exporter.stop())
  exporter.start()
}

async function statesOf(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ exported: string; n: number }>(
    `select exported, count(*)::int as n from millrace.dead_letter group by 1`,
  )
  return Object.fromEntries(rows.map(({ exported, n }) => [exported, n]))
}

/** The offsets of the records that the copies are of, lowest first. */
async function copied({ log, dead }: Place): Promise<number[]> {
  const parts = await Promise.all([0, 1, 2].map((one) => readToEnd(log, dead, 0n, one)))
  const offsets = parts
    .flatMap(({ records }) => records)
    .flatMap((record: LogRecord) => record.headers.filter(([name]) => name === 'source_offset'))
    .map(([, value]) => Number(value))
  return offsets.sort((a, b) => a - b)
}

function numbers(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => from + n)
}

const LARGE = recordOf(randomBytes(30_000), 'large')

describe('dead letters that are copied to Kafka', () => {
  it('are each copied once beside one that the topic does not take, and behind it', async (t) => {
    const place = await setup(t, { 'max.message.bytes': '20000' })
    await place.letters(0, 50, (offset) => (offset === 20 ? { record: LARGE } : {}))
    exporting(t, place)
    await eventually(async () => (await statesOf(place.pool))['due'] === undefined)
    assert.deepEqual(await statesOf(place.pool), { done: 49, failed: 1 })
    await place.letters(50, 250)
    await eventually(async () => (await statesOf(place.pool))['done'] === 299)
    assert.deepEqual(
      await copied(place),
      numbers(0, 300).filter((offset) => offset !== 20),
    )
    const { rows } = await place.pool.query(
      `select "offset"::int as "offset" from millrace.dead_letter where exported = 'failed'`,
    )
    assert.deepEqual(rows, [{ offset: 20 }])
  })

  it('come after more than a page of those that the topic never takes', async (t) => {
    // Where the last of each key is kept, none without a key is taken.
    const place = await setup(t, { 'cleanup.policy': 'compact', 'max.message.bytes': '20000' })
    await place.letters(0, 250, (offset) => ({
      record: offset % 25 === 0 ? LARGE : recordOf('{}', null),
    }))
    await place.letters(250, 10)
    exporting(t, place)
    await eventually(async () => (await statesOf(place.pool))['due'] === undefined)
    assert.deepEqual(await statesOf(place.pool), { done: 10, failed: 250 })
    assert.deepEqual(await copied(place), numbers(250, 10))
  })

  it('are each copied at least once when the process is killed between the copy and its mark', async (t) => {
    const place = await setup(t)
    const count = 1_500
    await place.letters(0, count)
    const { application, url: databaseUrl, brokers } = place
    const spawn = (trap?: Trap): Scenario => {
      const config: ExportingConfig = { databaseUrl, application, brokers, ...(trap && { trap }) }
      const file = new URL('../dead-letter/exporting-process.ts', import.meta.url)
      return spawnNode(t, file, { args: [JSON.stringify(config)] })
    }
    const kills = 3
    for (let kill = 0; kill < kills; kill += 1) {
      // Of the second page.
      const trap = { name: 'transaction:before-commit', count: 2, signal: 'SIGKILL' } as const
      const child = spawn(trap)
      await child.waitFor('trap')
      assert.equal((await child.exited).signal, 'SIGKILL')
    }
    const before = await statesOf(place.pool)
    assert.deepEqual(before, { done: kills * 200, due: count - kills * 200 })
    spawn()
    await eventually(async () => (await statesOf(place.pool))['due'] === undefined)
    assert.deepEqual(await statesOf(place.pool), { done: count })
    const copies = await copied(place)
    assert.deepEqual([...new Set(copies)], numbers(0, count))
    // What was not marked, and only that, has another copy.
    assert.ok(copies.length > count, 'no page was copied twice: it was killed too early')
    assert.ok(copies.length <= count + kills * 200, `${copies.length} copies`)
  })
})
