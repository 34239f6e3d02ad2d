import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import { setFailpointHandler } from '../../../src/core/failpoint.ts'
import type { Log } from '../../../src/log/port.ts'
import {
  isRelayLog,
  type RelayedRecord,
  type RelayIdentity,
  type RelayLog,
  type RelayProducer,
} from '../../../src/log/relay-port.ts'
import { cleanup } from '../../support/cleanup.ts'
import { kafkaLog } from '../../support/kafka-log.ts'
import { sharedKafka } from '../../support/kafka.ts'
import { readCommitted } from '../../support/outbox.ts'
import { eventually } from '../../support/wait.ts'

interface Bed {
  readonly log: RelayLog
  readonly topic: string
  readonly id: string
  producer(identity?: Partial<RelayIdentity>): RelayProducer
  record(value: string, parts?: Partial<RelayedRecord>): RelayedRecord
  /** The values that are committed, in order. */
  seen(): Promise<(string | null)[]>
}

async function bed(t: TestContext, partitions = 1): Promise<Bed> {
  const cluster = await sharedKafka()
  const log: Log = await kafkaLog(t, cluster)
  assert.ok(isRelayLog(log))
  const topic = `transactions-${randomUUID()}`
  await log.createTopic(topic, { partitions })
  const id = randomUUID()
  return {
    log,
    topic,
    id,
    producer(identity = {}) {
      const producer = log.relayProducer({ id, shard: 0, ...identity })
      cleanup(t, () => producer.close())
      return producer
    },
    record: (value, parts = {}) => ({
      topic,
      partition: null,
      key: null,
      value: Buffer.from(value),
      headers: [],
      timestamp: new Date(),
      ...parts,
    }),
    seen: async () => (await readCommitted(cluster.brokers, topic)).map(({ value }) => value),
  }
}

/** Ends the next transaction of this process as a power cut would: before it is committed. */
function failBeforeCommit(t: TestContext): void {
  setFailpointHandler((name) => {
    if (name !== 'relay:produced') return
    setFailpointHandler(undefined)
    throw new Error('the power was cut')
  })
  cleanup(t, async () => Promise.resolve(setFailpointHandler(undefined)))
}

describe('a transactional producer', () => {
  it('writes records and cursor together, and the next one finds the cursor', async (t) => {
    const { producer, record, seen } = await bed(t)
    const first = producer()
    assert.equal(await first.open(), null)
    await first.produce([record('1'), record('2')], 'after 2')
    await first.produce([record('3')], 'after 3')
    await first.close()
    assert.equal(await producer().open(), 'after 3')
    assert.deepEqual(await seen(), ['1', '2', '3'])
  })

  it('leaves neither of a transaction that was not committed', async (t) => {
    const { producer, record, seen } = await bed(t)
    const first = producer()
    await first.open()
    await first.produce([record('1')], 'after 1')
    failBeforeCommit(t)
    await assert.rejects(first.produce([record('lost')], 'after lost'), /the power was cut/)
    const second = producer()
    assert.equal(await second.open(), 'after 1')
    await second.produce([record('2')], 'after 2')
    assert.deepEqual(await seen(), ['1', '2'])
  })

  it('is shut out by the next one, whatever it had begun', async (t) => {
    const { producer, record, seen } = await bed(t)
    const old = producer()
    await old.open()
    await old.produce([record('1')], 'after 1')
    const next = producer()
    assert.equal(await next.open(), 'after 1')
    await assert.rejects(old.produce([record('old')], 'after old'), { code: 'E_LOG_FENCED' })
    await next.produce([record('2')], 'after 2')
    await assert.rejects(old.produce([record('old')], 'after old'), { code: 'E_LOG_FENCED' })
    assert.deepEqual(await seen(), ['1', '2'])
  })

  it('keeps the shards and the installations apart', async (t) => {
    const { producer, record } = await bed(t)
    const other = randomUUID()
    const all = [
      producer(),
      producer({ shard: 1 }),
      producer({ shard: 16 }),
      producer({ id: other }),
    ]
    for (const one of all) assert.equal(await one.open(), null)
    for (const [index, one] of all.entries()) await one.produce([record('x')], `of ${index}`)
    for (const one of all) await one.close()
    assert.equal(await producer().open(), 'of 0')
    assert.equal(await producer({ shard: 1 }).open(), 'of 1')
    assert.equal(await producer({ shard: 16 }).open(), 'of 2')
    assert.equal(await producer({ id: other }).open(), 'of 3')
  })

  it('finds its cursor behind much that is not its own', async (t) => {
    const { log, id, producer, record } = await bed(t)
    const first = producer()
    await first.open()
    await first.produce([record('1')], 'mine')
    await first.close()
    const noise = Array.from({ length: 5_000 }, (_, n) => ({
      topic: `millrace.outbox.${id}`,
      partition: 0,
      key: Buffer.from(`noise-${n}`),
      value: Buffer.from('noise'),
      headers: [],
    }))
    await log.append(noise)
    assert.equal(await producer().open(), 'mine')
  })

  it('writes nothing when a topic is missing, and is as good as before', async (t) => {
    const { producer, record, seen } = await bed(t)
    const one = producer()
    await one.open()
    const nowhere = record('x', { topic: `nowhere-${randomUUID()}` })
    await assert.rejects(one.produce([record('lost'), nowhere], 'lost'), {
      code: 'E_LOG_UNKNOWN_TOPIC',
    })
    await assert.rejects(one.produce([record('lost', { partition: 7 })], 'lost'), {
      code: 'E_LOG_UNKNOWN_TOPIC',
    })
    await one.produce([record('1')], 'after 1')
    assert.deepEqual(await seen(), ['1'])
  })

  it('notices that a topic was made anew with more partitions', async (t) => {
    const { log, topic, producer, record } = await bed(t)
    const one = producer()
    await one.open()
    await one.produce([record('1', { key: Buffer.from('a') })], 'after 1')
    await log.deleteTopic(topic)
    await log.createTopic(topic, { partitions: 3 })
    await eventually(async () => {
      try {
        const producing = producer()
        await producing.open()
        await producing.produce([record('2', { partition: 2 })], 'after 2')
        return true
      } catch {
        // The brokers may still know the old one.
        return false
      }
    })
    assert.equal(await producer().open(), 'after 2')
  })

  it('compresses when the log does', async (t) => {
    const cluster = await sharedKafka()
    const { topic, id, record, seen } = await bed(t)
    const log = await kafkaLog(t, cluster, { compression: 'gzip' })
    assert.ok(isRelayLog(log))
    const producer = log.relayProducer({ id, shard: 0 })
    cleanup(t, () => producer.close())
    await producer.open()
    const values = Array.from({ length: 100 }, (_, n) => `${n} ${'x'.repeat(500)}`)
    await producer.produce(
      values.map((value) => record(value)),
      'after 100',
    )
    assert.deepEqual(await seen(), values)
    assert.equal(
      (await log.topics()).some(({ name }) => name === topic),
      true,
    )
  })
})
