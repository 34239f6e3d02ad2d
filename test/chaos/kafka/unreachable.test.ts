import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { entriesOf } from '../../support/checker/history.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { kafkaProxy, type KafkaProxy } from '../../support/kafka-proxy.ts'
import { testKafka, type KafkaNode } from '../../support/kafka.ts'
import { isStopped } from '../../support/process.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun, type ChaosWorker } from '../chaos-run.ts'
import { underLoad } from '../load.ts'

/** Requests that are few, per second: none of its loops turns without a wait. */
const FEW_PER_SECOND = 60

/** Of the topic of a run. */
const PARTITIONS = 4

const WITHOUT_BYTES =
  'records of discarded jobs could not be read; their dead letters keep the origin without the bytes'

const SILENT = /has not answered|cannot be reached|no Kafka broker answers/

interface Behind {
  readonly node: KafkaNode
  /** Before the port that the broker advertises, and before the one that clients are given. */
  readonly proxy: KafkaProxy
  readonly bootstrap: KafkaProxy
  readonly run: ChaosRun
  readonly worker: ChaosWorker
  readonly end: () => Promise<void>
}

/** A run whose broker is reached by way of proxies, and that is under load. */
async function behindProxy(t: TestContext, name: string): Promise<Behind> {
  const [proxy, bootstrap] = await Promise.all([kafkaProxy(), kafkaProxy()])
  for (const one of [proxy, bootstrap]) cleanup(t, async () => one[Symbol.asyncDispose]())
  const cluster = await testKafka(t, {
    advertise: (port) => {
      for (const one of [proxy, bootstrap]) one.target = port
      return proxy.port
    },
  })
  const run = await ChaosRun.begin(t, {
    name,
    database: await testDatabase(t),
    log: {
      brokers: [`127.0.0.1:${bootstrap.port}`],
      requestTimeoutMs: 3_000,
      deliveryTimeoutMs: 4_000,
    },
    outages: true,
    workers: { batchRecords: 10 },
  })
  const worker = run.worker({ name: 'worker' })
  await worker.ready()
  const end = underLoad(run)
  await eventually(() => entriesOf(run.history(), 'produce').length > 40)
  // A partition that nobody has begun to read waits for nothing.
  await eventually(async () => {
    const { rows } = await run.pool.query('select from millrace.position where next_offset > 0')
    return rows.length === PARTITIONS
  })
  return { node: cluster.nodes[0] as KafkaNode, proxy, bootstrap, run, worker, end }
}

/** Waits until every partition says what it waits for, then for four seconds more; counts what is asked and answered meanwhile. */
async function troubled({
  run,
  ...proxies
}: Behind): Promise<{ waiting: string; perSecond: number; answered: number }> {
  const waiting = await eventually(async () => {
    const { rows } = await run.pool.query<{ waiting: string }>(
      'select waiting from millrace.position where waiting is not null',
    )
    return rows.length === PARTITIONS && rows[0]?.waiting
  })
  const { proxy, bootstrap } = proxies
  const all = (): number =>
    [proxy, bootstrap].reduce((sum, one) => sum + one.requests('worker') + one.connections, 0)
  const answers = (): number => proxy.answered + bootstrap.answered
  const [asked, before] = [all(), answers()]
  const since = performance.now()
  await sleep(4_000)
  const perSecond = ((all() - asked) * 1_000) / (performance.now() - since)
  assert.ok(perSecond < FEW_PER_SECOND, `${perSecond} requests per second`)
  return { waiting: String(waiting), perSecond, answered: answers() - before }
}

/** How a connection to a port ends. */
async function refusedAt(port: number): Promise<string | undefined> {
  const socket = createConnection(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  } finally {
    socket.destroy()
  }
}

for (const direction of ['requests', 'answers'] as const) {
  test(`keeps every promise while the broker is there but its ${direction} are lost`, async (t) => {
    const behind = await behindProxy(t, `lost ${direction}`)
    const { proxy, bootstrap, run, worker, end } = behind
    const at = Date.now()
    for (const one of [proxy, bootstrap]) one.lose(direction)
    const { waiting, perSecond } = await troubled(behind)
    const unknown = await eventually(
      () => entriesOf(run.history(), 'produce').filter(({ outcome }) => outcome === 'info').length,
    )
    for (const one of [proxy, bootstrap]) await one.heal()
    run.fault(`lost ${direction}`, 'broker', at, {
      seen: proxy.lost > 0,
      text: `${proxy.lost} bytes were lost, ${unknown} records are of unknown outcome, ${perSecond} requests per second; partitions said: ${waiting}`,
    })
    assert.match(waiting, SILENT)
    await eventually(() => worker.logged('the partition can be read again') > 0)
    await end()
    await run.quiet(60_000)
    await run.pass()
  })
}

test('asks a broker that holds still only now and then, and goes on with it', async (t) => {
  const behind = await behindProxy(t, 'a broker that holds still')
  const { node, run, worker, end } = behind
  const pid = node.pid ?? 0
  const at = Date.now()
  node.pause()
  await eventually(() => isStopped(pid))
  const { waiting, perSecond, answered } = await troubled(behind)
  const stood = isStopped(pid) && node.pid === pid
  node.resume()
  run.fault('SIGSTOP', 'broker', at, {
    seen: stood && answered === 0 && SILENT.test(waiting),
    text: `still stopped: ${stood}; ${answered} bytes of answers, ${perSecond} requests per second; partitions said: ${waiting}`,
  })
  await eventually(() => worker.logged('the partition can be read again') > 0)
  await end()
  await run.quiet(60_000)
  await run.pass()
})

test('waits for a broker whose advertised port is dead, and names it', async (t) => {
  const behind = await behindProxy(t, 'a dead advertised port')
  const { proxy, run, worker, end } = behind
  // Jobs that are given up while nobody can read the records that they come from.
  run.effects.hold()
  await run.producer.produce(10, { behaviour: () => 'job-hopeless' })
  await eventually(() => run.effects.held > 0)
  // What was read is still in the reader's memory, for half a second and a look round.
  await sleep(2_000)
  const at = Date.now()
  await proxy.close()
  run.effects.release()
  const refused = entriesOf(run.history(), 'produce').length
  const { waiting, perSecond } = await troubled(behind)
  await eventually(() =>
    entriesOf(run.history(), 'produce')
      .slice(refused)
      .some(({ outcome }) => outcome === 'fail'),
  )
  await eventually(() => worker.logged(WITHOUT_BYTES) > 0)
  const refusal = await refusedAt(proxy.port)
  await proxy.heal()
  run.fault('closed port', 'broker', at, {
    seen: refusal === 'ECONNREFUSED' && waiting.includes(`127.0.0.1:${proxy.port}`),
    text: `a connection ended with ${refusal}, ${perSecond} requests per second; partitions said: ${waiting}`,
  })
  await eventually(() => worker.logged('the partition can be read again') > 0)
  await end()
  await run.quiet(60_000)
  await run.pass()
})
