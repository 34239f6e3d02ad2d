import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka'
import { testDatabase } from '../../support/database.ts'
import { testKafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { kill } from '../many-processes.ts'
import { kafkaAdmin } from './operating.ts'

const SEGMENT_MS = 100

const UNVERIFIABLE =
  'none of the records that were handled is in the log any more, so nobody can say whether it is the same; going on'

test('steps over the holes that compaction left, among what was read and what was not', async (t) => {
  const cluster = await testKafka(t, { properties: { 'log.cleaner.backoff.ms': 100 } })
  const run = await ChaosRun.begin(t, {
    name: 'a compacted topic',
    database: await testDatabase(t),
    log: {
      brokers: cluster.brokers,
      // Only what stands in older files is compacted.
      topicConfigs: { 'segment.ms': String(SEGMENT_MS), 'min.cleanable.dirty.ratio': '0.01' },
    },
    partitions: 1,
  })
  const admin = kafkaAdmin(t, cluster.brokers)
  const cleanUpBy = async (value: 'compact' | 'delete'): Promise<void> => {
    const change = { name: 'cleanup.policy', value }
    const configOperation = IncrementalAlterConfigOperationTypes.SET
    const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: run.topic }
    await admin.incrementalAlterConfigs({
      resources: [{ ...resource, configs: [{ ...change, configOperation }] }],
    })
  }
  const first = run.worker({ name: 'first' })
  const few = { key: (n: number) => `key-${n % 7}`, perTransaction: 10 }
  await run.producer.produce(60, few)
  await run.quiet(40_000)
  await kill(run, first)
  const unread = (await run.kafka?.topic())?.partitions[0]?.end ?? 0n
  await run.producer.produce(120, few)
  // The file is old enough to end now; the last record, of a key of its own, stands in the next.
  await sleep(2 * SEGMENT_MS)
  await run.producer.produce(1, { key: () => 'last' })
  await run.remember()
  const at = Date.now()
  await cleanUpBy('compact')
  await eventually(async () => {
    const gone = await run.compacted()
    return gone.read > 0 && gone.unread > 0
  })
  // From now on nothing else is taken away.
  await cleanUpBy('delete')
  let gone = await run.compacted()
  await eventually(async () => {
    const before = gone
    gone = await run.compacted()
    return gone.read === before.read && gone.unread === before.unread
  })
  const second = run.worker({ name: 'second' })
  await run.producer.produce(40, few)
  await run.quiet(40_000)
  run.fault('compacted', run.topic, at, {
    seen: gone.read > 0 && gone.unread > 0,
    text: `${gone.read} records that were read are gone, and ${gone.unread} that were not`,
  })
  assert.equal(second.logged(UNVERIFIABLE), 1)
  const { batches } = await run.pass()
  const behind = batches.filter((batch) => batch.first >= unread)
  const read = behind.reduce((sum, { records }) => sum + records, 0)
  assert.equal(read, 161 - gone.unread)
})
