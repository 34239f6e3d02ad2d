import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import test, { type TestContext } from 'node:test'
import { isRelayLog } from '../../../src/log/relay-port.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { loseHalf } from '../../support/kafka-tail.ts'
import { testKafka, type KafkaNode } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun, type ChaosWorker } from '../chaos-run.ts'
import { kill } from '../many-processes.ts'
import { count } from '../scenarios.ts'
import { gapsOf } from './operating.ts'

/** The record that was handled last. */
const LAST = 99n

interface Handled {
  readonly run: ChaosRun
  readonly node: KafkaNode
  readonly worker: ChaosWorker
  /** How far the log reaches. */
  end(): Promise<bigint>
}

/** A hundred records that a worker has handled; it is taken for alive for longer than the test takes. */
async function handled(t: TestContext, name: string): Promise<Handled> {
  const cluster = await testKafka(t)
  const run = await ChaosRun.begin(t, {
    name,
    database: await testDatabase(t),
    log: { brokers: cluster.brokers, requestTimeoutMs: 3_000, deliveryTimeoutMs: 4_000 },
    partitions: 1,
    workers: { takeOverMs: 120_000 },
  })
  const worker = run.worker({ name: 'first' })
  await run.producer.produce(100)
  await run.quiet(40_000)
  const end = async (): Promise<bigint> => (await run.kafka?.topic())?.partitions[0]?.end ?? 0n
  assert.equal(await end(), LAST + 1n)
  return { run, node: cluster.nodes[0] as KafkaNode, worker, end }
}

/** Takes the tail away. The log then becomes longer than it was, so no offset gives the loss away. */
async function overgrown(
  { run, node, end }: Handled,
  grow: () => Promise<void> = async () => run.producer.produce(20, { persistent: false }),
): Promise<void> {
  await loseHalf(node, run.topic)
  const left = await end()
  assert.ok(left > 0n && left < LAST, `${left} of 100 records are left`)
  // What is left is even or odd: the marker of a transaction of one record is to stand where the last one was.
  if ((LAST - left) % 2n === 0n)
    await eventually(async () => {
      await run.producer.produce(1, { persistent: false })
      return (await end()) === left + 1n
    })
  await eventually(async () => {
    await grow()
    return (await end()) > LAST + 10n
  })
}

/** Writes one record per transaction. */
async function inTransactions(
  t: TestContext,
  { millrace, topic }: ChaosRun,
): Promise<() => Promise<void>> {
  const { log } = millrace
  assert.ok(isRelayLog(log))
  const producer = log.relayProducer({ id: randomUUID(), shard: 0 })
  cleanup(t, () => producer.close())
  let opened = false
  return async () => {
    if (!opened) await producer.open()
    opened = true
    const value = Buffer.from(JSON.stringify({ unlike: randomUUID() }))
    const record = { topic, partition: 0, key: null, value, headers: [], timestamp: new Date() }
    await producer.produce([record], randomUUID())
  }
}

/** It has stopped before it handled anything of what is there now. */
async function stopped({ run }: Handled, found: RegExp): Promise<void> {
  const [gap] = await gapsOf(run, 1)
  assert.match(gap?.found ?? '', found)
  assert.deepEqual([gap?.code, gap?.evidence.lastOffset], ['diverged', String(LAST)])
  const batches = 'select count(*)::int as n from millrace.batch where last_offset > $1'
  assert.equal(await count(run, batches, [LAST]), 0)
}

/** A worker that sees nothing of what happens meanwhile, and is the owner all the time. */
async function asleep({ run, worker }: Handled, meanwhile: () => Promise<void>): Promise<void> {
  const owned = 'select epoch::int as n from millrace.position'
  const epoch = await count(run, owned)
  worker.kill('SIGSTOP')
  try {
    await meanwhile()
  } finally {
    worker.kill('SIGCONT')
  }
  assert.equal(await count(run, owned), epoch)
}

test('a living owner stops at a tail that was lost and overgrown', async (t) => {
  const parts = await handled(t, 'a lost tail, seen by its owner')
  await asleep(parts, () => overgrown(parts))
  await stopped(parts, /^the record at offset 99 is not the one/)
})

test('a living owner stops where its last record has become a marker of a transaction', async (t) => {
  const parts = await handled(t, 'a marker, seen by its owner')
  const grow = await inTransactions(t, parts.run)
  await asleep(parts, () => overgrown(parts, grow))
  await stopped(parts, /^at offset 99, .* the end of a transaction/)
})

test('a new owner stops where the last record has become a marker of a transaction', async (t) => {
  const parts = await handled(t, 'a marker, seen at a take-over')
  const { run, worker } = parts
  const grow = await inTransactions(t, run)
  await kill(run, worker)
  await overgrown(parts, grow)
  // The dead one is taken for alive.
  await run.pool.query('update millrace.process set expires_at = clock_timestamp()')
  run.worker({ name: 'second' })
  await stopped(parts, /^at offset 99, .* the end of a transaction/)
})
