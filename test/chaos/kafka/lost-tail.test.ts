import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import test, { type TestContext } from 'node:test'
import type { Resolution } from '../../../src/consumer/queries.ts'
import { isRelayLog } from '../../../src/log/relay-port.ts'
import type { Dumps } from '../../support/checker/dumps.ts'
import { cleanup } from '../../support/cleanup.ts'
import { testDatabase } from '../../support/database.ts'
import { loseHalf } from '../../support/kafka-tail.ts'
import { testKafka, type KafkaNode } from '../../support/kafka.ts'
import { eventually } from '../../support/wait.ts'
import { ChaosRun, type ChaosWorker } from '../chaos-run.ts'
import { kill } from '../many-processes.ts'
import { count } from '../scenarios.ts'
import { gapsOf, resolve } from './operating.ts'

/** The record that was handled last. */
const LAST = 99n

interface Handled {
  readonly run: ChaosRun
  readonly node: KafkaNode
  readonly brokers: readonly string[]
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
  await run.remember()
  return { run, node: cluster.nodes[0] as KafkaNode, brokers: cluster.brokers, worker, end }
}

/** A tail that is gone. */
interface Loss {
  readonly at: number
  readonly before: bigint
  readonly after: bigint
}

/** Takes the tail away. The log then becomes longer than it was, so no offset gives the loss away. */
async function overgrown(
  { run, node, end }: Handled,
  grow: () => Promise<void> = async () => run.producer.produce(20, { persistent: false }),
): Promise<Loss> {
  const at = Date.now()
  await loseHalf(node, run.topic)
  const { before, after: left } = await run.tailLost()
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
  return { at, before, after: left }
}

/** Writes one record per transaction. */
async function inTransactions(
  t: TestContext,
  { millrace, producer: writer }: ChaosRun,
): Promise<() => Promise<void>> {
  const { log } = millrace
  assert.ok(isRelayLog(log))
  const producer = log.relayProducer({ id: randomUUID(), shard: 0 })
  cleanup(t, () => producer.close())
  let opened = false
  return async () => {
    if (!opened) await producer.open()
    opened = true
    await writer.produce(1, {
      persistent: false,
      append: async (records) =>
        producer.produce(
          records.map((record) => ({ ...record, partition: 0, timestamp: new Date() })),
          randomUUID(),
        ),
    })
  }
}

/** It has stopped before it handled anything of what is there now. */
async function stopped(
  { run }: Handled,
  { at, before, after }: Loss,
  found: RegExp,
): Promise<void> {
  const [gap] = await gapsOf(run, 1)
  assert.match(gap?.found ?? '', found)
  assert.deepEqual([gap?.code, gap?.evidence.lastOffset], ['diverged', String(LAST)])
  const batches = 'select count(*)::int as n from millrace.batch where last_offset > $1'
  assert.equal(await count(run, batches, [LAST]), 0)
  run.fault('lost tail', run.topic, at, {
    seen: after < before && gap?.code === 'diverged',
    text: `of ${before} records ${after} were left; found ${gap?.code}: ${gap?.found}`,
  })
}

/** Somebody decides, and it goes on; the checker judges all of it. */
async function decided(
  t: TestContext,
  { run, brokers }: Handled,
  resolution: Resolution,
): Promise<Dumps['moves'][number]> {
  await resolve(t, run, brokers, resolution)
  await run.producer.produce(20)
  await run.quiet(60_000)
  const { moves } = await run.pass()
  assert.equal(moves.length, 1)
  return moves[0] as Dumps['moves'][number]
}

/** A worker that sees nothing of what happens meanwhile, and is the owner all the time. */
async function asleep<T>({ run, worker }: Handled, meanwhile: () => Promise<T>): Promise<T> {
  const owned = 'select epoch::int as n from millrace.position'
  const epoch = await count(run, owned)
  worker.kill('SIGSTOP')
  let result: T
  try {
    result = await meanwhile()
  } finally {
    worker.kill('SIGCONT')
  }
  assert.equal(await count(run, owned), epoch)
  return result
}

test('a living owner stops at a tail that was lost and overgrown, and goes on behind it when somebody accepts that', async (t) => {
  const parts = await handled(t, 'a lost tail, seen by its owner')
  const loss = await asleep(parts, () => overgrown(parts))
  await stopped(parts, loss, /^the record at offset 99 is not the one/)
  const { to, givenUp } = await decided(t, parts, { decision: 'accept' })
  // From the last record that is known to be as it was, which may stand further below.
  assert.ok(to === LAST + 1n && to - (givenUp ?? 0n) <= loss.after, `${givenUp} were given up`)
})

test('a living owner stops where its last record has become a marker of a transaction, and reads what took its place', async (t) => {
  const parts = await handled(t, 'a marker, seen by its owner')
  const grow = await inTransactions(t, parts.run)
  const loss = await asleep(parts, () => overgrown(parts, grow))
  await stopped(parts, loss, /^at offset 99, .* the end of a transaction/)
  const { to } = await decided(t, parts, { decision: 'rewind', to: 'match' })
  assert.ok(to <= loss.after, 'all that is new is read')
})

test('a new owner stops where the last record has become a marker of a transaction, and reads what took its place', async (t) => {
  const parts = await handled(t, 'a marker, seen at a take-over')
  const { run, worker } = parts
  const grow = await inTransactions(t, run)
  await kill(run, worker)
  const loss = await overgrown(parts, grow)
  // The dead one is taken for alive.
  await run.pool.query('update millrace.process set expires_at = clock_timestamp()')
  run.worker({ name: 'second' })
  await stopped(parts, loss, /^at offset 99, .* the end of a transaction/)
  const { to } = await decided(t, parts, { decision: 'rewind', to: { offset: 0n } })
  assert.equal(to, 0n)
})
