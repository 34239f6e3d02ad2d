import test from 'node:test'
import { testDatabase } from '../../support/database.ts'
import { testKafka, type KafkaNode } from '../../support/kafka.ts'
import { loseHalf } from '../../support/kafka-tail.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun } from '../chaos-run.ts'
import { gapsOf, resolve } from './operating.ts'

test('a job that is discarded after its record was lost does not take the bytes of what stands there now', async (t) => {
  const cluster = await testKafka(t)
  const node = cluster.nodes[0] as KafkaNode
  const run = await ChaosRun.begin(t, {
    name: 'a lost tail under jobs',
    database: await testDatabase(t),
    log: { brokers: cluster.brokers },
    partitions: 1,
    workers: { takeOverMs: 120_000 },
  })
  const first = run.worker({ name: 'first' })
  await first.ready()
  run.effects.hold()
  await run.producer.produce(100, { behaviour: (n) => (n > 90 ? 'job-hopeless' : 'quiet') })
  await eventually(async () => (await run.unread()) === 0)
  await run.remember()
  const at = Date.now()
  first.kill('SIGSTOP')
  await loseHalf(node, run.topic)
  const { before, after } = await run.tailLost()
  await eventually(async () => {
    await run.producer.produce(20, { persistent: false, behaviour: () => 'plain' })
    return ((await run.kafka?.topic())?.partitions[0]?.end ?? 0n) > 110n
  })
  run.effects.release()
  first.kill('SIGCONT')
  const [gap] = await gapsOf(run, 1)
  run.fault('lost tail', run.topic, at, {
    seen: after < before && gap?.code === 'diverged',
    text: `the log ended at ${before} and then at ${after}, which was found as ${gap?.code}`,
  })
  await resolve(t, run, cluster.brokers, { decision: 'rewind', to: 'match' })
  await run.producer.produce(20)
  await run.quiet(60_000)
  await run.pass()
})
