import assert from 'node:assert/strict'
import test from 'node:test'
import { entriesOf } from '../../support/checker/history.ts'
import { testDatabase } from '../../support/database.ts'
import { testKafka } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { underLoad } from '../load.ts'
import { kafkaAdmin, leadersOf } from './operating.ts'

test('goes on with another broker when the leader is killed under load', async (t) => {
  const cluster = await testKafka(t, { brokers: 3 })
  const run = await ChaosRun.begin(t, {
    name: 'the leader is killed',
    database: await testDatabase(t),
    log: { brokers: cluster.brokers, requestTimeoutMs: 3_000, deliveryTimeoutMs: 20_000 },
    outages: true,
    partitions: 3,
    workers: { batchRecords: 10 },
  })
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  const end = underLoad(run)
  await eventually(() => run.producer.acknowledged >= 60)
  const admin = kafkaAdmin(t, cluster.brokers)
  const before = await leadersOf(admin, run.topic)
  const victim = cluster.nodes.find(({ id }) => id === before[0])
  assert.ok(victim !== undefined)
  const at = Date.now()
  await victim.kill9()
  const after = await eventually(async () => {
    const now = await leadersOf(admin, run.topic)
    return now.length === 3 && now.every((id) => id > 0 && id !== victim.id) && now
  })
  const known = run.producer.acknowledged
  await eventually(() => run.producer.acknowledged >= known + 40)
  run.fault('SIGKILL', `broker ${victim.id}`, at, {
    seen: victim.pid === undefined && before.includes(victim.id),
    text: `partitions were led by ${before.join()}, then by ${String(after)}`,
  })
  await end()
  await run.quiet(60_000)
  await victim.restart()
  await run.pass()
  const refused = entriesOf(run.history(), 'produce').filter(({ outcome }) => outcome !== 'ok')
  assert.deepEqual(refused, [], 'there was time enough for every append')
})
