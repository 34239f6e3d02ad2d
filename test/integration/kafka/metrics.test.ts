import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { application } from '../../../src/consumer/application.ts'
import { event } from '../../../src/events/event.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { parseExposition } from '../../support/exposition.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { running, settled } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

test('the lag on Kafka is told in records and seconds, by a process that reads nothing of it', async (t) => {
  const { url, pool } = await testDatabase(t)
  const { brokers } = await sharedKafka()
  const topic = `watched-${process.pid}-${Date.now()}`
  const sold = event('SOLD', { source: 'TEST', topic, schema: z.object({ n: z.int() }) })
  const shop = application('shop').on(
    sold,
    inTransaction(() => {}),
  )
  const log = kafka({ brokers })
  const topics = { [topic]: { partitions: 1 } }
  const reader = await running(t, { database: url, log, run: [shop], topics })
  await reader.publish(sold, { n: 1 })
  await settled(reader)
  await reader.stop()
  const watcher = await running(t, { database: url, log, metrics: { port: 0 } })
  cleanup(t, () => watcher.log.deleteTopic(topic))
  await watcher.publishMany(sold, [{ n: 2 }, { n: 3 }])
  // A transaction's event waits in the outbox until a relay has moved it.
  await watcher.transaction((tx) => tx.publish(sold, { n: 4 }))
  const { rows } = await pool.query<{ next: string }>(
    'select next_offset::text as next from millrace.position',
  )
  assert.equal(rows.length, 1)
  await eventually(async () => {
    const metrics = parseExposition(await (await fetch(String(watcher.metricsUrl))).text())
    const of = (name: string): number | undefined => metrics.get(name)?.samples[0]?.value
    // The relay's own mark of the end of its transaction is one of the offsets behind the position.
    assert.ok(Number(of('millrace_consumer_lag')) >= 3)
    assert.ok(Number(of('millrace_consumer_lag_time_seconds')) > 0)
    assert.deepEqual(
      [of('millrace_log_up'), of('millrace_outbox_pending'), of('millrace_outbox_halted')],
      [1, 0, 0],
    )
    return true
  })
})
