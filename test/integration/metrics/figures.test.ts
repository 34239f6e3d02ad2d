import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { connectOperator } from '../../../src/app/operator.ts'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import { application } from '../../../src/consumer/application.ts'
import { writeDeadLetters } from '../../../src/dead-letter/dead-letter.ts'
import { permanent } from '../../../src/errors/millrace-error.ts'
import { event } from '../../../src/events/event.ts'
import { job } from '../../../src/jobs/job.ts'
import { getReplay, orderReplay } from '../../../src/replay/order.ts'
import type { ReplayPace } from '../../../src/replay/replay.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { deadLetter } from '../../support/dead-letters.ts'
import { parseExposition, type ReadFamily } from '../../support/exposition.ts'
import { holdAt } from '../../support/held.ts'
import { keepingLogger, running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

const sold = event('SOLD', { source: 'TEST', topic: 'sales', schema: z.object({ n: z.int() }) })
const note = job('note', { args: z.object({ n: z.int() }), queue: 'notes', handle: () => {} })
const failing = job('failing', {
  args: z.object({}),
  queue: 'mail',
  maxAttempts: 1,
  handle() {
    throw new Error('no such mailbox')
  },
})
const shop = application('shop').on(
  sold,
  inTransaction(({ data }) => {
    if (data.n % 5 === 0) throw permanent(`number ${data.n} is bad`)
  }),
)
const notes = application('notes').on(
  sold,
  toJob(note, ({ data }) => data),
)

type Metrics = ReadonlyMap<string, ReadFamily>

async function scrape(url: string | null): Promise<Metrics> {
  const answer = await fetch(String(url))
  assert.equal(answer.status, 200)
  return parseExposition(await answer.text())
}

/** The value of a sample; undefined: there is none. */
function valueOf(
  metrics: Metrics,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const wanted = JSON.stringify(Object.entries(labels).toSorted())
  return metrics
    .get(name)
    ?.samples.find((one) => JSON.stringify(Object.entries(one.labels).toSorted()) === wanted)?.value
}

describe('the figures at /metrics', () => {
  it('tell of the whole installation, also of what other processes do', async (t) => {
    const { url } = await testDatabase(t)
    const logger = keepingLogger()
    const watcher = await running(t, { database: url, metrics: { port: 0 }, logger, queues: false })
    const worker = await running(t, {
      database: url,
      run: [shop, notes],
      jobs: [failing],
      topics: { sales: { partitions: 1 } },
    })
    assert.match(String(watcher.metricsUrl), /^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
    assert.equal(worker.metricsUrl, null)
    assert.ok(logger.lines.some(({ fields }) => fields['url'] === watcher.metricsUrl))
    await worker.publishMany(
      sold,
      Array.from({ length: 10 }, (_, n) => ({ n })),
    )
    await worker.insert(failing, {})
    await settled(worker)
    const metrics = await eventually(async () => {
      const found = await scrape(watcher.metricsUrl)
      return valueOf(found, 'millrace_dlq_open', { application: '' }) === 1 ? found : undefined
    })
    const found = metrics as Metrics
    const place = { application: 'shop', topic: 'sales', partition: '0' }
    assert.deepEqual(
      {
        open: valueOf(found, 'millrace_dlq_open', { application: 'shop' }),
        deadLettered: valueOf(found, 'millrace_dlq_dead_lettered_total', { application: 'shop' }),
        done: valueOf(found, 'millrace_records_total', {
          application: 'shop',
          disposition: 'done',
        }),
        made: valueOf(found, 'millrace_records_total', {
          application: 'notes',
          disposition: 'jobs',
        }),
        lag: valueOf(found, 'millrace_consumer_lag', place),
        lagTime: valueOf(found, 'millrace_consumer_lag_time_seconds', place),
        paused: valueOf(found, 'millrace_consumer_paused', place),
        owned: valueOf(found, 'millrace_consumer_owned', place),
        waiting: valueOf(found, 'millrace_queue_depth', { queue: 'notes', state: 'waiting' }),
        completed: valueOf(found, 'millrace_jobs_completed_total', { queue: 'notes' }),
        discarded: valueOf(found, 'millrace_jobs_discarded_total', { queue: 'mail' }),
        failed: valueOf(found, 'millrace_job_attempts_failed_total', { queue: 'mail' }),
        events: valueOf(found, 'millrace_events_published_total', { topic: 'sales' }),
        outbox: valueOf(found, 'millrace_outbox_pending'),
        outboxAge: valueOf(found, 'millrace_outbox_oldest_age_seconds'),
        processes: valueOf(found, 'millrace_processes'),
        log: valueOf(found, 'millrace_log_up'),
      },
      {
        open: 2,
        deadLettered: 2,
        done: 8,
        made: 10,
        lag: 0,
        lagTime: 0,
        paused: 0,
        owned: 1,
        waiting: 0,
        completed: 10,
        discarded: 1,
        failed: 1,
        events: 10,
        outbox: 0,
        outboxAge: 0,
        processes: 2,
        log: 1,
      },
    )
    const groups = found.get('millrace_dlq_group_open')?.samples ?? []
    assert.equal(
      groups.reduce((sum, { value }) => sum + value, 0),
      3,
    )
    assert.ok(
      Number(valueOf(found, 'millrace_dlq_oldest_age_seconds', { application: 'shop' })) > 0,
    )
    for (const [name, { samples }] of found) {
      for (const { labels } of samples)
        assert.deepEqual(
          Object.keys(labels).filter((label) => !KNOWN_LABELS.includes(label)),
          [],
          name,
        )
    }
  })

  it('tell how far behind an application is that nobody runs, and that it is paused', async (t) => {
    const { url, pool } = await testDatabase(t)
    const first = await running(t, {
      database: url,
      run: [shop],
      topics: { sales: { partitions: 1 } },
    })
    await first.publish(sold, { n: 1 })
    await settled(first)
    await first.stop()
    const watcher = await running(t, { database: url, metrics: { port: 0 }, upkeep: false })
    await watcher.publishMany(sold, [{ n: 2 }, { n: 3 }])
    await pool.query(
      `update millrace.record set "timestamp" = clock_timestamp() - interval '1 hour'`,
    )
    await pool.query(
      `insert into millrace.pause (application, paused_by, reason) values ('shop', 'ana', 'a look')`,
    )
    // What stands twice, because its topic was made anew, is one series.
    await pool.query(
      `insert into millrace.position (application, topic_id, partition, topic, next_offset, halted)
       values ('shop', gen_random_uuid(), 0, 'sales', 0, 'gone')`,
    )
    const metrics = await scrape(watcher.metricsUrl)
    const place = { application: 'shop', topic: 'sales', partition: '0' }
    assert.equal(valueOf(metrics, 'millrace_consumer_lag', place), 2)
    assert.equal(
      Math.round(Number(valueOf(metrics, 'millrace_consumer_lag_time_seconds', place)) / 60),
      60,
    )
    assert.equal(valueOf(metrics, 'millrace_consumer_paused', place), 1)
    assert.equal(valueOf(metrics, 'millrace_consumer_owned', place), 0)
    assert.equal(valueOf(metrics, 'millrace_consumer_halted', place), 1)
    assert.equal(valueOf(metrics, 'millrace_upkeep_leader'), 0)
  })

  it('tell of dead letters that are parked, which nobody counts as open', async (t) => {
    const { url, pool } = await testDatabase(t)
    const watcher = await running(t, { database: url, metrics: { port: 0 }, upkeep: false })
    await writeDeadLetters(pool, [deadLetter(1), deadLetter(2), deadLetter(3)])
    await pool.query(`update millrace.dead_letter set state = 'parked' where "offset" < 3`)
    const metrics = await scrape(watcher.metricsUrl)
    assert.equal(valueOf(metrics, 'millrace_dlq_open', { application: 'billing' }), 1)
    assert.equal(valueOf(metrics, 'millrace_dlq_parked', { application: 'billing' }), 2)
    const summary = await watcher.summary()
    assert.deepEqual([summary.deadLettersOpen, summary.deadLettersParked], [1, 2])
  })

  it('tell what became of what was replayed, and of which causes something is open, parked or nothing left', async (t) => {
    const { url, pool } = await testDatabase(t)
    let mended = false
    const till = application('till', { floodBrake: false }).on(
      sold,
      inTransaction(({ data }) => {
        if (data.n === 5) throw permanent('it is too dear')
        if (!mended) throw permanent('it has no price')
      }),
    )
    const millrace = await running(t, {
      database: url,
      run: [till],
      metrics: { port: 0 },
      topics: { sales: { partitions: 1 } },
    })
    const operator = await connectOperator({ database: pool, user: 'ana@test' })
    cleanup(t, () => operator.close())
    const replayed = async (pace: Partial<ReplayPace> = {}): Promise<void> => {
      const { id } = await orderReplay(operator, { selection: { application: 'till' }, ...pace })
      await eventually(async () => (await getReplay(pool, id)).state === 'finished')
    }
    const seen = (metrics: Metrics): unknown => ({
      replayed: ['passed', 'failed', 'skipped'].map((outcome) =>
        valueOf(metrics, 'millrace_replay_records_total', { application: 'till', outcome }),
      ),
      groups: ['open', 'parked', 'closed'].map((status) =>
        valueOf(metrics, 'millrace_error_groups', { application: 'till', status }),
      ),
    })
    const show = async (expected: unknown): Promise<void> => {
      let found: unknown
      await eventually(async () => {
        found = seen(await scrape(millrace.metricsUrl))
        return isDeepStrictEqual(found, expected)
      }).catch(() => assert.deepEqual(found, expected))
    }
    await millrace.publishMany(
      sold,
      Array.from({ length: 6 }, (_, n) => ({ n })),
    )
    await settled(millrace)
    await replayed({ dryRun: true })
    const none = [undefined, undefined, undefined]
    await show({ replayed: none, groups: [2, 0, 0] })
    mended = true
    await replayed()
    await show({ replayed: [5, 1, undefined], groups: [1, 0, 1] })
    await replayed({ maxReplays: 1 })
    await show({ replayed: [5, 2, undefined], groups: [0, 1, 1] })
    // What somebody discards while it is being worked on.
    await pool.query(`update millrace.dead_letter set state = 'open' where state = 'parked'`)
    const held = holdAt(t, 'replay:read', 1)
    const last = replayed()
    await held.reached
    await pool.query(`update millrace.dead_letter set state = 'discarded' where state = 'open'`)
    held.release()
    await last
    await show({ replayed: [5, 2, 1], groups: [0, 0, 2] })
  })

  it('tell what waits in a queue, and how long the first in line has been due', async (t) => {
    const { url, pool } = await testDatabase(t)
    const watcher = await running(t, { database: url, metrics: { port: 0 }, upkeep: false })
    await watcher.insertMany(failing, [{}, {}, {}])
    await watcher.insert(failing, {}, { scheduleIn: '1h' })
    await pool.query(
      `update millrace.job set scheduled_at = clock_timestamp() - interval '5 minutes', priority = 9
       where id = (select id from millrace.job where state = 'available' order by id desc limit 1)`,
    )
    const metrics = await scrape(watcher.metricsUrl)
    assert.equal(valueOf(metrics, 'millrace_queue_depth', { queue: 'mail', state: 'waiting' }), 4)
    assert.equal(valueOf(metrics, 'millrace_queue_depth', { queue: 'mail', state: 'executing' }), 0)
    const age = valueOf(metrics, 'millrace_queue_oldest_age_seconds', { queue: 'mail' })
    assert.equal(Math.round(Number(age) / 60), 5)
  })

  it('are still told when the log does not answer, without those of the log', async (t) => {
    const { url } = await testDatabase(t)
    const millrace = await running(t, { database: url, run: [shop], metrics: { port: 0 } })
    millrace.log.offsets = () => new Promise(() => {})
    const metrics = await scrape(millrace.metricsUrl)
    assert.equal(valueOf(metrics, 'millrace_log_up'), 0)
    assert.equal(metrics.get('millrace_consumer_lag'), undefined)
    assert.equal(valueOf(metrics, 'millrace_processes'), 1)
  })
})

const KNOWN_LABELS = [
  'application',
  'topic',
  'partition',
  'queue',
  'state',
  'disposition',
  'fingerprint',
  'status',
  'outcome',
]
