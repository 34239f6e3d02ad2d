import test from 'node:test'
import { entriesOf } from '../../support/checker/history.ts'
import { testDatabase } from '../../support/database.ts'
import { testKafka, type KafkaNode } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { underLoad } from '../load.ts'

test('survives kills of the broker under load: what was acknowledged is there, and is handled once', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const run = await ChaosRun.begin(t, {
    name: 'kills of the broker',
    database: await testDatabase(t),
    log: { brokers: cluster.brokers, requestTimeoutMs: 3_000, deliveryTimeoutMs: 4_000 },
    outages: true,
    workers: { batchRecords: 10 },
  })
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  const end = underLoad(run)
  for (let kills = 0; kills < 2; kills += 1) {
    await eventually(async () => (await run.unread()) > 0)
    const at = Date.now()
    const { pid } = node
    const before = entriesOf(run.history(), 'produce').length
    await node.kill9()
    // Somebody has tried to write meanwhile.
    await eventually(() =>
      entriesOf(run.history(), 'produce')
        .slice(before)
        .some(({ outcome }) => outcome !== 'ok'),
    )
    await node.restart()
    run.fault('SIGKILL', 'broker', at, {
      seen: node.pid !== pid,
      text: `process ${pid} became ${node.pid}`,
    })
    const acknowledged = (): number =>
      entriesOf(run.history(), 'produce').filter(({ outcome }) => outcome === 'ok').length
    const known = acknowledged()
    await eventually(() => acknowledged() > known)
  }
  await end()
  await run.quiet(60_000)
  await run.pass()
})
