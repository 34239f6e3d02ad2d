import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { start } from '../../../src/app/start.ts'
import { setFailpointHandler } from '../../../src/core/failpoint.ts'
import { event } from '../../../src/events/event.ts'
import { kafka } from '../../../src/kafka/kafka.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { testKafka } from '../../support/kafka.ts'
import { onKafka, readCommitted, relayed } from '../../support/outbox.ts'
import { eventually } from '../../support/wait.ts'

const noted = event('NOTED', { source: 'TEST', topic: 'noted', schema: z.int(), key: () => 'k' })

test('a relay stops while the broker stands still, and the next one goes on where it was', async (t) => {
  const { url } = await testDatabase(t)
  const cluster = await testKafka(t)
  const { brokers } = cluster
  const [broker] = cluster.nodes
  const millrace = await start({
    database: url,
    // Longer than anything here waits.
    log: kafka({ brokers, requestTimeoutMs: 120_000 }),
    topics: { noted: { partitions: 1 } },
    outboxShards: 1,
    queues: false,
    upkeep: false,
  })
  cleanup(t, () => millrace.stop({ now: true }))
  await millrace.transaction((tx) => tx.publishMany(noted, [1, 2, 3]))
  await relayed(millrace)
  let writing = false
  setFailpointHandler((name) => {
    if (name === 'relay:read') writing = true
  })
  cleanup(t, async () => Promise.resolve(setFailpointHandler(undefined)))
  broker?.pause()
  await millrace.transaction((tx) => tx.publishMany(noted, [4, 5, 6]))
  await eventually(() => writing)
  let stopped = false
  const slow = millrace.stop()
  const stopping = Promise.all([slow, millrace.stop({ now: true })]).then(() => {
    stopped = true
  })
  try {
    await eventually(() => stopped)
  } finally {
    broker?.resume()
  }
  await stopping
  const next = await onKafka(t, brokers, { database: url, queues: false, upkeep: false })
  await relayed(next.millrace)
  assert.deepEqual(
    (await readCommitted(brokers, 'noted')).map(({ value }) => value),
    ['1', '2', '3', '4', '5', '6'],
  )
})
