import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type pg from 'pg'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { createCore } from '../../../src/core/core.ts'
import { writeDeadLetters } from '../../../src/dead-letter/dead-letter.ts'
import { DeadLetterExporter, setExport } from '../../../src/dead-letter/exporter.ts'
import { readForeignDeadLetter } from '../../../src/dead-letter/foreign.ts'
import { MillraceError, permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import type { ReceivedEvent } from '../../../src/events/received-event.ts'
import { job } from '../../../src/jobs/job.ts'
import type { Log, LogRecord } from '../../../src/log/port.ts'
import { TableLog } from '../../../src/log/table-log.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter, ODD_VALUES, recordOf } from '../../support/dead-letters.ts'
import { running, settled } from '../../support/millrace.ts'
import { spawnNode } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'
import type { ExportingConfig } from './exporting-process.ts'

async function recordsOf(log: Log, name: string): Promise<LogRecord[]> {
  const topic = await log.topic(name)
  if (topic === undefined) return []
  const requests = Array.from({ length: topic.partitions }, (_, partition) => ({
    topic: name,
    topicId: topic.id,
    partition,
    offset: 0n,
    maxRecords: 10_000,
    maxBytes: 268_435_456,
  }))
  return (await log.read(requests)).flatMap(({ records }) => records)
}

function tableLogOn(t: TestContext, pool: pg.Pool): Log {
  const log = new TableLog({ core: createCore(), pool })
  cleanup(t, () => log.close())
  return log
}

/** `log`, with `how` deciding about each append. */
function appendingAs(
  log: Log,
  how: (
    append: () => ReturnType<Log['append']>,
    records: Parameters<Log['append']>[0],
  ) => ReturnType<Log['append']>,
): Log {
  return new Proxy(log, {
    get(target, name) {
      if (name !== 'append') return Reflect.get(target, name, target) as unknown
      return (...args: Parameters<Log['append']>) => how(() => target.append(...args), args[0])
    },
  })
}

function header(record: LogRecord, name: string): string | undefined {
  return record.headers.findLast(([other]) => other === name)?.[1]?.toString()
}

async function states(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ exported: string; n: number }>(
    `select coalesce(exported, 'none') as exported, count(*)::int as n from millrace.dead_letter group by 1`,
  )
  return Object.fromEntries(rows.map(({ exported, n }) => [exported, n]))
}

/** Exporters of one application, as so many processes would run. */
function exporters(t: TestContext, pool: pg.Pool, log: Log, count: number): void {
  for (let n = 0; n < count; n += 1) {
    const core = createCore()
    const exporter = new DeadLetterExporter({
      core,
      pool,
      log,
      application: 'billing',
      intervalMs: 5,
    })
    cleanup(t, () => exporter.stop())
    exporter.start()
  }
}

describe('dead letters that are exported', () => {
  it('are copied with their bytes, and with headers that other tools understand', async (t) => {
    const { url, pool } = await testDatabase(t)
    const ordered = event('ORDERED', {
      source: 'S',
      topic: 'orders',
      schema: z.object({ n: z.int() }),
    })
    type Ordered = ReceivedEvent<'ORDERED', { n: number }>
    const ship = job('ship', {
      args: z.object({ n: z.int() }),
      maxAttempts: 1,
      handle: () => {
        throw new Error('no carrier')
      },
    })
    const app = application('billing', { exportDeadLetters: true })
      .on(
        ordered,
        inTransaction(({ data }: Ordered) => {
          throw permanent(`order ${data.n} has no price`)
        }),
      )
      .on(
        ordered,
        toJob(ship, ({ data }) => data),
      )
    const millrace = await running(t, { database: url, run: [app] })
    await millrace.publish(ordered, { n: 7 }, { key: 'k7' } as never)
    await settled(millrace)
    await eventually(async () => (await recordsOf(millrace.log, 'billing.dead')).length === 2)
    const [origin] = await recordsOf(millrace.log, 'orders')
    for (const record of await recordsOf(millrace.log, 'billing.dead')) {
      assert.deepEqual([record.key, record.value], [origin?.key, origin?.value])
      assert.deepEqual(record.headers.slice(0, origin?.headers.length), origin?.headers)
      const read = readForeignDeadLetter(record)
      assert.deepEqual(read.origin, {
        topic: 'orders',
        partition: origin?.partition,
        offset: origin?.offset,
      })
      assert.match(read.error.message, /order 7 has no price|no carrier/)
      assert.deepEqual(
        [header(record, 'source_topic'), header(record, 'source_attempts')],
        ['orders', '1'],
      )
      assert.match(header(record, 'millrace_fingerprint') ?? '', /^[0-9a-f]{16}$/)
    }
    assert.deepEqual(await states(pool), { done: 2 })
  })

  it('are each copied once, whatever they carry and however many processes copy', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 3 })
    await writeDeadLetters(pool, [deadLetter(1)])
    await setExport(pool, 'billing', true)
    const odd = Object.values(ODD_VALUES)
    await writeDeadLetters(
      pool,
      Array.from({ length: 1_000 }, (_, n) =>
        deadLetter(10 + n, n < odd.length ? { record: recordOf(odd[n] ?? null) } : {}),
      ),
    )
    // What nobody of ours writes.
    await pool.query(
      `update millrace.dead_letter set headers = '{"no":"list"}' where "offset" = 300`,
    )
    await pool.query(`update millrace.dead_letter set error = '5' where "offset" = 301`)
    await writeDeadLetters(pool, [deadLetter(5_000, { application: 'other' })])
    exporters(t, pool, log, 3)
    await eventually(async () => (await states(pool))['due'] === undefined)
    assert.deepEqual(await states(pool), { none: 2, done: 999, failed: 1 })
    const records = await recordsOf(log, 'billing.dead')
    const offsets = records.map((record) => Number(header(record, 'source_offset')))
    assert.deepEqual(
      offsets.sort((a, b) => a - b),
      Array.from({ length: 1_000 }, (_, n) => 10 + n).filter((offset) => offset !== 300),
    )
    for (const [n, value] of odd.entries()) {
      const record = records.find((one) => header(one, 'source_offset') === String(10 + n))
      assert.deepEqual(record?.value, value === null ? null : Buffer.from(value))
    }
  })

  it('are those of applications for which some process copies, also when another one says no', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 1 })
    await setExport(pool, 'billing', true)
    await setExport(pool, 'billing', false)
    await writeDeadLetters(pool, [deadLetter(1)])
    assert.deepEqual(await states(pool), { none: 1 })
    exporters(t, pool, log, 2)
    const on = async (): Promise<boolean> =>
      (await pool.query('select from millrace.dead_letter_export')).rowCount === 1
    await eventually(on)
    // The old version of a deploy starts again, after a crash.
    await setExport(pool, 'billing', false)
    await eventually(on)
    await writeDeadLetters(pool, [deadLetter(2)])
    await eventually(async () => (await states(pool))['done'] === 1)
  })

  it('wait while the log is away, and are none the fewer when a copy is cut short', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 1 })
    await setExport(pool, 'billing', true)
    await writeDeadLetters(
      pool,
      Array.from({ length: 500 }, (_, n) => deadLetter(n)),
    )
    let appends = 0
    // Away at first; then it takes the records, and the process is gone before it can say so.
    const failing = appendingAs(log, async (append) => {
      appends += 1
      if (appends === 1)
        throw new MillraceError('E_LOG_UNAVAILABLE', 'no leader', { retryable: true })
      const placed = await append()
      if (appends === 2) throw new MillraceError('E_DB_CONNECT', 'cut', { retryable: true })
      return placed
    })
    exporters(t, pool, failing, 1)
    await eventually(async () => (await states(pool))['due'] === undefined)
    const records = await recordsOf(log, 'billing.dead')
    assert.deepEqual(
      records.map((record) => Number(header(record, 'source_offset'))),
      Array.from({ length: 500 }, (_, n) => n),
    )
    assert.ok(appends > 3)
  })

  it('are marked as failed only themselves, whatever is committed while they are tried', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 1 })
    await setExport(pool, 'billing', true)
    // It has the lower number, and is seen only after the other one was tried.
    const slow = await pool.connect()
    await slow.query('begin')
    await writeDeadLetters(slow, [deadLetter(1)])
    await writeDeadLetters(pool, [deadLetter(2), deadLetter(3)])
    let committed = false
    const refusing = appendingAs(log, async (append, records) => {
      const refused = records.some(({ headers }) =>
        headers.some(([name, value]) => name === 'source_offset' && String(value) === '2'),
      )
      if (!refused) return append()
      if (!committed && records.length === 1) {
        committed = true
        await slow.query('commit')
        slow.release()
      }
      throw new MillraceError('E_EVENT_TOO_LARGE', 'too large', { retryable: false })
    })
    exporters(t, pool, refusing, 1)
    await eventually(async () => (await states(pool))['due'] === undefined)
    const { rows } = await pool.query(
      `select "offset"::int as "offset", exported from millrace.dead_letter order by "offset"`,
    )
    assert.deepEqual(rows, [
      { offset: 1, exported: 'done' },
      { offset: 2, exported: 'failed' },
      { offset: 3, exported: 'done' },
    ])
  })

  it('are copied to a topic that is made when it is missing, and again when somebody deletes it', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await setExport(pool, 'billing', true)
    exporters(t, pool, log, 2)
    for (const n of [1, 2]) {
      await writeDeadLetters(pool, [deadLetter(n)])
      await eventually(async () => (await states(pool))['done'] === n)
      const copies = await recordsOf(log, 'billing.dead')
      assert.deepEqual(
        copies.map((record) => header(record, 'source_offset')),
        [String(n)],
      )
      await log.deleteTopic('billing.dead')
    }
  })

  it('are copied a few at a time where they are large, whatever part of them it is', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 1 })
    await setExport(pool, 'billing', true)
    // Stored as next to nothing, for they are compressed.
    const large = recordOf('{}', 'k', { note: 'x'.repeat(900_000) })
    const args = { kind: 'mail', argsJson: JSON.stringify({ note: 'x'.repeat(900_000) }) }
    await writeDeadLetters(
      pool,
      Array.from({ length: 24 }, (_, n) =>
        n < 12
          ? deadLetter(n, { record: large })
          : deadLetter(n, {
              stage: 'job',
              record: null,
              job: { id: `0198c0de-0000-7000-8000-0000000000${n}`, ...args },
            }),
      ),
    )
    const together: number[] = []
    const counting = appendingAs(log, async (append, records) => {
      together.push(records.length)
      return append()
    })
    exporters(t, pool, counting, 1)
    await eventually(async () => (await states(pool))['done'] === 24)
    assert.ok(Math.max(...together) <= 5, together.join(', '))
  })

  it('are the job where the bytes of its record were not there any more', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 1 })
    await setExport(pool, 'billing', true)
    const id = '0198c0de-0000-7000-8000-0000000000ab'
    const job = { id, kind: 'mail', argsJson: '{"to":7}' }
    await writeDeadLetters(pool, [deadLetter(1, { stage: 'job', job, record: null })])
    exporters(t, pool, log, 1)
    await eventually(async () => (await states(pool))['done'] === 1)
    const [copy] = await recordsOf(log, 'billing.dead')
    assert.deepEqual([String(copy?.key), String(copy?.value)], [id, '{"to":7}'])
    assert.equal(header(copy as LogRecord, 'source_offset'), '1')
  })

  it('are copied again when their job is discarded anew, also while they are being copied', async (t) => {
    const { pool } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 1 })
    await setExport(pool, 'billing', true)
    const job = { id: '0198c0de-0000-7000-8000-0000000000aa', kind: 'mail', argsJson: '{}' }
    const discarded = (attempts: number): Promise<number> =>
      writeDeadLetters(pool, [deadLetter(1, { job, attempts, stage: 'job' })])
    await discarded(5)
    let appends = 0
    const slow = appendingAs(log, async (append) => {
      appends += 1
      const placed = await append()
      if (appends === 1) await discarded(9)
      return placed
    })
    exporters(t, pool, slow, 1)
    await eventually(async () => appends > 0 && (await states(pool))['due'] === undefined)
    const copies = await recordsOf(log, 'billing.dead')
    assert.deepEqual(
      copies.map((record) => header(record, 'source_attempts')),
      ['5', '9'],
    )
  })

  it('are each copied once when the process that copies is killed again and again', async (t) => {
    const { pool, url } = await testDatabase(t)
    const log = tableLogOn(t, pool)
    await log.createTopic('billing.dead', { partitions: 2 })
    await setExport(pool, 'billing', true)
    const count = 3_000
    for (let from = 0; from < count; from += 1_000) {
      await writeDeadLetters(
        pool,
        Array.from({ length: 1_000 }, (_, n) => deadLetter(from + n)),
      )
    }
    const done = async (): Promise<number> => (await states(pool))['done'] ?? 0
    let kills = 0
    for (let copied = 0; copied < count; copied = await done()) {
      const child = spawnNode(t, new URL('./exporting-process.ts', import.meta.url), {
        args: [
          JSON.stringify({ databaseUrl: url, application: 'billing' } satisfies ExportingConfig),
        ],
      })
      await child.waitFor('copying')
      // Once it is in the midst of it; the last one may finish.
      await eventually(async () => (await done()) > copied)
      kills += (await done()) < count ? 1 : 0
      child.kill('SIGKILL')
      await child.exited
    }
    assert.ok(kills >= 2, `it was killed in the midst of it ${kills} times`)
    const copies = (await recordsOf(log, 'billing.dead')).map((record) =>
      Number(header(record, 'source_offset')),
    )
    assert.deepEqual(
      copies.sort((a, b) => a - b),
      Array.from({ length: count }, (_, n) => n),
    )
  })
})
