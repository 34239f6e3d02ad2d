import assert from 'node:assert/strict'
import test from 'node:test'
import { entriesOf } from '../../support/checker/history.ts'
import { testDatabase } from '../../support/database.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { ChaosRun } from '../chaos-run.ts'

test('finds nothing wrong with a run on Kafka in which nothing goes wrong', async (t) => {
  const run = await ChaosRun.begin(t, {
    name: 'baseline on Kafka',
    database: await testDatabase(t),
    log: await sharedKafka(),
    faultless: true,
  })
  const workers = [run.worker(), run.worker()]
  await Promise.all(workers.map((worker) => worker.ready()))
  await run.producer.produce(300)
  await run.quiet(40_000)
  await run.pass()
  const committed = entriesOf(run.history(), 'committed').map(({ committed: offset }) => offset)
  assert.ok(committed.some((offset) => offset !== '0'))
})
