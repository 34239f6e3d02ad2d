import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tellNewFingerprints, type FloodAlertMessage } from '../../../src/alerts/alerts.ts'
import { alertState } from '../../../src/alerts/queries.ts'
import { resumeConsumers } from '../../../src/consumer/pause-consumers.ts'
import { createCore } from '../../../src/core/core.ts'
import { flooded, newOrders, oldCode, ordered1, ordered2, orders } from '../../support/flooded.ts'
import { eventually } from '../../support/wait.ts'
import { webhookReceiver } from '../../support/webhook.ts'

test('a partition that the flood brake stops is told once, and once more when it is stopped anew', async (t) => {
  const { url, messages } = await webhookReceiver<FloodAlertMessage>(t)
  const bed = await flooded(t)
  await bed.producer.publishMany(ordered1, orders(0, 100))
  await bed.start(oldCode())
  await bed.caughtUp()
  await bed.producer.publishMany(ordered2, newOrders(100, 200))
  const [stop] = await bed.stopped()
  const duty = tellNewFingerprints({ webhook: url }, { spacingMs: 0 })
  const parts = { core: createCore(), pool: bed.pool } as Parameters<typeof duty.run>[0]
  const tell = async (): Promise<void> => {
    await duty.run(parts, new AbortController().signal)
  }
  await tell()
  await tell()
  const [first] = messages
  assert.deepEqual([messages.length, first?.kind, first?.more], [1, 'consumer.flood', 0])
  assert.equal((await alertState(bed.pool))?.waiting, 0)
  const [flood] = first?.floods ?? []
  assert.deepEqual(
    [flood?.application, flood?.topic, flood?.partition, flood?.fingerprint],
    ['app', 'orders', 0, stop?.flood.fingerprint],
  )
  assert.deepEqual(flood?.error.code, stop?.flood.error.code)
  assert.ok((flood?.failed ?? 0) >= 20 && (flood?.keys ?? 0) >= 2)
  assert.equal(flood?.look, 'millrace consumers get --app app --topic orders --partition 0')
  assert.match(
    first?.text ?? '',
    /^The flood brake has stopped a partition: app orders\/0: \d+ of \d+ records fail in /,
  )
  assert.equal(await bed.deadLetters(), 0)

  // Somebody tries again although nothing was mended.
  await resumeConsumers(bed.operator, { application: 'app' })
  await eventually(async () => {
    const [again] = await bed.stops()
    return again !== undefined && again.gap !== stop?.gap
  })
  assert.equal((await alertState(bed.pool))?.waiting, 1)
  await tell()
  await tell()
  assert.deepEqual([messages.length, messages[1]?.kind], [2, 'consumer.flood'])
  assert.notEqual(messages[1]?.id, first?.id)
})

test('what nobody takes is told again under the same id, and what was decided meanwhile is not', async (t) => {
  const { url, messages } = await webhookReceiver<FloodAlertMessage>(t, (response, nth) => {
    response.statusCode = nth <= 2 ? 500 : 200
    response.end()
  })
  const bed = await flooded(t)
  await bed.producer.publishMany(ordered1, orders(0, 100))
  await bed.start(oldCode())
  await bed.caughtUp()
  await bed.producer.publishMany(ordered2, newOrders(100, 200))
  await bed.stopped()
  const duty = tellNewFingerprints({ webhook: url }, { spacingMs: 0, backoffMs: 0 })
  const parts = { core: createCore(), pool: bed.pool } as Parameters<typeof duty.run>[0]
  const tell = async (): Promise<void> => {
    await bed.pool.query(`update millrace.alert_delivery set next_at = '-infinity'`)
    await duty.run(parts, new AbortController().signal)
  }
  await tell()
  assert.match((await alertState(bed.pool))?.trouble ?? '', /500/)
  await tell()
  assert.equal(messages.length, 2)
  assert.deepEqual(messages[1], messages[0])

  await resumeConsumers(bed.operator, { application: 'app' }, { acceptFailures: { reason: 'old' } })
  await bed.caughtUp()
  await tell()
  // Their dead letters may be told by now, the stop is over.
  assert.ok(messages.slice(2).every(({ kind }) => kind !== 'consumer.flood'))
  const { rows } = await bed.pool.query(
    `select from millrace.gap where code = 'flood' and evidence ->> 'toldAt' is null`,
  )
  assert.equal(rows.length, 1)
})
